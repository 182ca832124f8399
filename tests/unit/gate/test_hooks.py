"""The contract with Faust and aiokafka: what the gate overrides, calls or reads there behind their public names.

When a new version moves one of these, a test fails that bears its name. Then look at `gate/faust/` (and the module that
the test's comment names), not at the symptom.
"""

import importlib
import importlib.metadata
import inspect
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import errors

PROJECT: Final = Path(__file__).parents[3] / "pyproject.toml"

#: Callable -> names of its parameters. What is overridden must be called with them, what is called must take them.
CALLABLES: Final = {
    # Overridden in hooks.py and fetching.py.
    "faust:App._new_transport": "self",
    "faust:App._on_partitions_revoked": "self revoked",
    "faust:App._on_partitions_assigned": "self assigned generation_id",
    "faust:App._stop_consumer": "self",
    "faust.transport.drivers.aiokafka:Transport.__init__": "self args kwargs",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "self",
    "faust.transport.drivers.aiokafka:Consumer._drain_messages": "self fetcher",
    "faust.transport.drivers.aiokafka:Consumer.verify_event_path": "self now tp",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "self transport",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": "self",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
        "self consumer active_partitions timeout max_records"
    ),
    "faust.assignor.partition_assignor:PartitionAssignor.metadata": "self topics",
    "aiokafka.conn:AIOKafkaConnection.send": "self request expect_response",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": "self request",
    # Called from there.
    "aiokafka.conn:AIOKafkaConnection.close": "self reason exc",
    "faust:App.crash": "self reason",
    "faust:App.on_rebalance_start": "self",
    "faust.transport.drivers.aiokafka:Consumer._get_active_partitions": "self",
    "faust.transport.drivers.aiokafka:Consumer._getmany": "self active_partitions timeout",
    "faust.transport.drivers.aiokafka:Consumer.perform_seek": "self",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.__init__": "self consumer kwargs",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._ensure_consumer": "self",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.call_thread": "self fun args kwargs",
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": "self partitions timeout max_records",
    # Replaced in unpacking.py, or called from there.
    "aiokafka.consumer.fetcher:FetchResult.getall": "self max_records",
    "aiokafka.consumer.fetcher:FetchResult.getone": "self",
    "aiokafka.consumer.fetcher:FetchResult._update_position": "self",
    "aiokafka.consumer.fetcher:FetchResult.check_assignment": "self tp",
    "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "self",
    "aiokafka.consumer.fetcher:PartitionRecords._consume_aborted_up_to": "self batch_offset",
    "aiokafka.consumer.fetcher:PartitionRecords._contains_abort_marker": "self next_batch",
    "aiokafka.consumer.fetcher:PartitionRecords._consumer_record": "self tp record",
    "aiokafka.consumer.fetcher:Fetcher._create_fetch_waiter": "self",
    "aiokafka.consumer.fetcher:Fetcher._get_actions_per_node": "self assignment",
    "aiokafka.consumer.fetcher:Fetcher._select_read_replica": "self tp",
    # Where it keeps `_preferred_read_replica`, which bulk.py empties.
    "aiokafka.consumer.fetcher:Fetcher._update_preferred_read_replica": "self tp preferred_read_replica",
    "aiokafka.consumer.subscription_state:SubscriptionState.fetch_context": "self",
    "aiokafka.consumer.subscription_state:Assignment.state_value": "self tp",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.coordinator_dead": "self",
    "aiokafka.consumer.group_coordinator:GroupCoordinator.request_rejoin": "self",
    # Where it keeps `_pending_exception`, which fetching.py reads.
    "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user": "self exc",
    "aiokafka.consumer.group_coordinator:GroupCoordinator._start_heartbeat_task": "self",
    # Overridden in table.py.
    "faust:Table._new_store": "self",
    "faust.stores.memory:Store.__post_init__": "self",
    "faust.stores.memory:Store.persisted_offset": "self tp",
    "faust.stores.memory:Store.on_rebalance": "self assigned revoked newly_assigned generation_id",
    "faust.stores.memory:Store.on_recovery_completed": "self active_tps standby_tps",
    # Used by access.py.
    "aiokafka.conn:create_conn": (
        "host port client_id request_timeout_ms ssl_context security_protocol max_idle_ms on_close sasl_mechanism "
        "sasl_plain_username sasl_plain_password sasl_kerberos_service_name sasl_kerberos_domain_name "
        "sasl_oauth_token_provider"
    ),
    # Replaced in tokens.py, or called from there.
    "transfer_gate.kafka.tokens:_log_in_otherwise": "self",
    "aiokafka.protocol.admin:SaslAuthenticateRequest.__init__": "self payload",
    "aiokafka.protocol.admin:SaslHandShakeRequest.__init__": "self mechanism",
    # Used by transaction.py and barrier.py.
    "aiokafka.client:AIOKafkaClient.bootstrap": "self",
    "aiokafka.client:AIOKafkaClient.close": "self",
    "aiokafka.client:AIOKafkaClient.set_topics": "self topics",
    "aiokafka.client:AIOKafkaClient.send": "self node_id request group",
    "aiokafka.client:AIOKafkaClient.ready": "self node_id group",
    "aiokafka.client:AIOKafkaClient.coordinator_lookup": "self coordinator_type coordinator_key",
    "aiokafka.client:AIOKafkaClient.force_metadata_update": "self",
    # The one in use is compiled and tells no parameters; it follows this one, whose last parameters are constants.
    "aiokafka.record.default_records:_DefaultRecordBatchBuilderPy.append": (
        "self offset timestamp key value headers encode_varint size_of_varint get_type type_int time_time byte_like "
        "bytearray_type len_func zero_len_varint"
    ),
    "aiokafka.record.default_records:_DefaultRecordBatchBuilderPy.set_producer_state": (
        "self producer_id producer_epoch base_sequence"
    ),
    "aiokafka.cluster:ClusterMetadata.leader_for_partition": "self partition",
    "aiokafka.protocol.transaction:InitProducerIdRequest.__init__": "self transactional_id transaction_timeout_ms",
    "aiokafka.protocol.transaction:AddPartitionsToTxnRequest.__init__": (
        "self transactional_id producer_id producer_epoch topics"
    ),
    "aiokafka.protocol.transaction:AddOffsetsToTxnRequest.__init__": (
        "self transactional_id producer_id producer_epoch group_id"
    ),
    "aiokafka.protocol.transaction:TxnOffsetCommitRequest.__init__": (
        "self transactional_id group_id producer_id producer_epoch topics"
    ),
    "aiokafka.protocol.transaction:EndTxnRequest.__init__": (
        "self transactional_id producer_id producer_epoch transaction_result"
    ),
    "aiokafka.protocol.produce:ProduceRequest.__init__": "self transactional_id required_acks timeout topics",
    "aiokafka.protocol.offset:OffsetRequest.__init__": "self replica_id isolation_level topics",
    # Used by protocol.py.
    "aiokafka.protocol.api:Request.build": "self request_struct_class",
}

#: Names that are read, or compared with, without being called.
NAMES: Final = (
    "faust:App.rebalancing",
    "faust:App.rebalancing_count",
    "faust:App.consumer_generation_id",
    "faust.transport.drivers.aiokafka:Transport.Consumer",
    "faust.transport.drivers.aiokafka:Consumer.flow_active",
    "faust.types.tuples:Message",
    "aiokafka.consumer.fetcher:Fetcher.error_future",
    "aiokafka.consumer.subscription_state:TopicPartitionState.has_valid_position",
    "aiokafka.consumer.subscription_state:TopicPartitionState.position",
    "aiokafka.consumer.subscription_state:Assignment.tps",
    # A look is remembered at an assignment, and its fetched partitions take turns.
    "aiokafka.consumer.subscription_state:Assignment.__dict__",
    "aiokafka.protocol.commit:OffsetFetchRequest",
    "aiokafka.protocol.api:RequestStruct.FLEXIBLE_VERSION",
    "aiokafka.client:ConnectionGroup.COORDINATION",
    "aiokafka.client:CoordinationType.GROUP",
    "aiokafka.client:CoordinationType.TRANSACTION",
)

#: Error codes of the protocol guide -> the class by which `transaction.py` knows them.
CODES: Final = {
    3: errors.UnknownTopicOrPartitionError,
    10: errors.MessageSizeTooLargeError,
    14: errors.GroupLoadInProgressError,
    15: errors.CoordinatorNotAvailableError,
    16: errors.NotCoordinatorError,
    18: errors.RecordListTooLargeError,
    29: errors.TopicAuthorizationFailedError,
    30: errors.GroupAuthorizationFailedError,
    31: errors.ClusterAuthorizationFailedError,
    35: errors.UnsupportedVersionError,
    46: errors.DuplicateSequenceNumber,
    47: errors.InvalidProducerEpoch,
    49: errors.InvalidProducerIdMapping,
    51: errors.ConcurrentTransactions,
    52: errors.TransactionCoordinatorFenced,
    53: errors.TransactionalIdAuthorizationFailed,
    55: errors.OperationNotAttempted,
}


def find(name: str) -> Any:
    """What `module:Class.attribute` names."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("library", ["faust-streaming", "aiokafka"])
def test_the_installed_version_is_the_pinned_one(library: str) -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    (pinned,) = (one.split("==")[1] for one in project["dependencies"] if one.split("[")[0].split("==")[0] == library)
    assert importlib.metadata.version(library) == pinned


@pytest.mark.parametrize("name", CALLABLES)
def test_a_hook_takes_the_parameters_that_it_took(name: str) -> None:
    assert " ".join(inspect.signature(find(name)).parameters) == CALLABLES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_read_exists(name: str) -> None:
    assert find(name) is not None or name == "faust:App.consumer_generation_id"


@pytest.mark.parametrize("code", CODES)
def test_an_error_code_has_the_class_that_the_writer_expects(code: int) -> None:
    assert errors.for_code(code) is CODES[code]


@pytest.mark.parametrize("code", [14, 15, 16])
def test_what_a_coordinator_says_that_moves_or_loads_is_asked_again(code: int) -> None:
    assert errors.for_code(code).retriable


@pytest.mark.parametrize("code", [87, 90])
def test_aiokafka_has_no_class_for_codes_that_the_writer_knows_by_number(code: int) -> None:
    assert errors.for_code(code) is errors.UnknownError
