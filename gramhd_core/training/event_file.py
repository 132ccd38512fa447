"""Curves for TensorBoard, written by the thread that has them: a full disk is then an error where it can be handled."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventFile:
    """A new events file in `folder`. Of what others there say, steps from `purge` on count no longer."""

    def __init__(self, folder: Path, *, purge: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        stamp = f"{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self.file = (folder / f"events.out.tfevents.{stamp}").open("wb")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=purge, session_log=start))

    def scalars(self, values: Mapping[str, float], *, step: int) -> None:
        """One point of each curve. OSError if it cannot be written."""
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))

    def close(self) -> None:
        """Nothing is lost: every event was flushed, or has raised an error."""
        with contextlib.suppress(OSError):
            self.file.close()

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self.file.write(record.getvalue())
        self.file.flush()
