"""Writes the dashboards: `python -m deploy.monitoring.grafana.generate`, at the root of the repository."""

from deploy.monitoring.grafana.generate.boards import files

if __name__ == "__main__":
    for file, content in files().items():
        file.write_text(content, encoding="utf-8")
