"""What a reader must know of the machine and the versions to make sense of a figure; no names, no paths."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.bench import BENCH_PYTHON
from benchmarks.rivals import JARS
from transfer_gate import __version__
from transfer_gate.local.jars import pins
from transfer_gate.local.java import find_java, java_version
from transfer_gate.policy.written import is_compiled


def machine() -> dict[str, str]:
    """Cores, memory, processor, system, and how busy others kept them.

    Figures of a busy machine compare only as ratios.
    """
    return {
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB",
        "processor": _processor(),
        "load average before": f"{psutil.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """What ran."""
    shown = "import importlib.metadata as m; print(*(m.version(n) for n in ('confluent-kafka', 'quixstreams')))"
    confluent, quix = subprocess.run(
        [str(BENCH_PYTHON), "-c", shown], check=True, capture_output=True, text=True
    ).stdout.split()
    return {
        "transfer-gate": f"{__version__}, {'compiled' if is_compiled() else 'interpreted'}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("faust-streaming", "aiokafka", "msgspec", "uvloop")},
        "confluent-kafka": confluent,
        "quixstreams": quix,
        "java": str(java_version(find_java())),
        "kafka": pins().kafka,
        "kafka-streams": _streams(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _streams() -> str:
    jar = next((JARS / "dependency").glob("kafka-streams-*.jar"))
    return jar.stem.removeprefix("kafka-streams-")
