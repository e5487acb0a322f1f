"""The event files hold every number of every record, and a resumed run hides what it writes again."""

import resource
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from gsljax.errors import UserError
from gsljax.report.tensorboard import TensorBoardLog


def read_events(run_dir: Path) -> list[Event]:
    """Read all event files in the order of their names, as TensorBoard does (TFRecord: length, CRC, bytes, CRC)."""
    events = []
    for path in sorted((run_dir / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            for begin, end in ((0, 8), (12, 12 + length)):
                assert struct.unpack("<I", content[end : end + 4]) == (masked_crc32c(content[begin:end]),)
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def scalars(events: list[Event]) -> dict[tuple[str, int], float]:
    """Return the values by tag and step."""
    return {(value.tag, event.step): value.simple_value for event in events for value in event.summary.value}


def record(samples: int, success: float | None) -> dict:
    return {
        "stage": "specialists",
        "epoch": 4,
        "samples": samples,
        "return": -3.5,
        "success": success,
        "members": {"return": [-3.0, None]},
        "note": "text",
        "time": {"program": 0.25},
    }


def test_every_number_is_a_curve_of_its_stage(tmp_path):
    log = TensorBoardLog(tmp_path)
    log.write(record(1200, None))
    log.close()
    assert scalars(read_events(tmp_path)) == {
        ("specialists/epoch", 1200): 4.0,
        ("specialists/return", 1200): -3.5,
        ("specialists/members_return_0", 1200): -3.0,
        ("specialists/time_program", 1200): 0.25,
    }


def test_a_resumed_run_keeps_what_it_resumes_from_and_hides_what_came_after(tmp_path):
    log = TensorBoardLog(tmp_path)
    for samples in (100, 200, 300):
        log.write(record(samples, 0.1))
    log.close()
    log = TensorBoardLog(tmp_path, resumed_at=200)
    log.write(record(300, 0.9))
    log.close()
    events = read_events(tmp_path)
    starts = [event for event in events if event.session_log.status == SessionLog.START]
    assert [event.step for event in starts] == [201]  # TensorBoard hides this step and all later ones before it
    shown = scalars(events[: events.index(starts[0])])
    shown = {key: value for key, value in shown.items() if key[1] < 201} | scalars(events[events.index(starts[0]) :])
    success = {step: value for (tag, step), value in shown.items() if tag == "specialists/success"}
    assert success == pytest.approx({100: 0.1, 200: 0.1, 300: 0.9})


def test_nothing_is_written_before_the_first_epoch(tmp_path):
    TensorBoardLog(tmp_path, resumed_at=200).close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_says_its_version_first_and_holds_every_epoch_at_once(tmp_path):
    log = TensorBoardLog(tmp_path)
    log.write(record(1200, 0.5))
    first, epoch = read_events(tmp_path)  # though the file is still open: a kill loses nothing
    assert first.file_version == "brain.Event:2" and epoch.step == 1200 and epoch.wall_time > 0
    log.close()


def test_a_full_disk_is_one_sentence(tmp_path):
    log = TensorBoardLog(tmp_path)
    log.write(record(1200, 0.5))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserError, match=r"^The file .*tfevents.* cannot be written \(File too large\)\.$"):
            log.write(record(1300, 0.5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.close()
