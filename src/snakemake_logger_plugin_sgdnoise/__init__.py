"""What Snakemake shows of a study on a terminal: one line, how far it is; its own lines are in its log.

A logger plugin, since Snakemake finds it by the name of this package; the profile `default` asks for it. Without a terminal, in a
dry run and with `--verbose` Snakemake says itself what it says.
"""

import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from snakemake.logging import logger
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from sgdnoise.study import progress

REFRESH = 1.0  # seconds between two lines on a terminal, longer where a look takes long; without one a line a minute
SHARE = 0.02  # of the time may be spent on looking
CLEAR = "\r\x1b[K"
SHOWN = ("Will exit after", "Terminating processes")  # of what Snakemake says by the way while jobs run
LAST, NOTHING = "Complete log", "Nothing to be done"
WARNED = "sgdnoise: warning: "  # how a line begins that is no reason to end
TWICE = ("RuleException:\nCalledProcessError", "WorkflowError:\nAt least one job")  # of jobs whose failure is said in a line


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options of Snakemake's command line, --logger-sgdnoise-..."""

    screen: str = field(
        default="auto",
        metadata={
            "help": "progress: one line; all: Snakemake's lines; auto: progress where there is a terminal",
            "choices": ["auto", "progress", "all"],
        },
    )


class LogHandler(LogHandlerBase):
    """Shows one line, and errors above it."""

    def __post_init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        screen = getattr(self.settings, "screen", None) or "auto"
        asked = self.common_settings.dryrun or self.common_settings.verbose
        self.shows = not asked and (screen == "progress" or (screen == "auto" and self.terminal))
        self.started = time.time()
        self.jobs: tuple[int, int] | None = None
        self.seen: dict[str, float] = {}
        self.at_once, self.last, self.hushed = 1, "", False
        self.said: set[str] = set()
        self.before: list[str] = []  # what was said until jobs run, for a call in which none does
        self.ended = threading.Event()
        self.line = threading.Lock()
        self.thread: threading.Thread | None = None
        if self.shows:
            logger.addFilter(self.hush)

    def hush(self, record: LogRecord) -> bool:
        """Hide what jobs print, which is in their logs; in Snakemake's own thread, since `emit` may be called after the first job."""
        if getattr(record, "event", None) == LogEvent.RUN_INFO and not self.hushed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            self.hushed = True
        return True

    def emit(self, record: LogRecord) -> None:
        """Take note of what Snakemake says, and pass on what is an error."""
        if not self.shows:
            return
        event, text = getattr(record, "event", None), ""
        if event == LogEvent.JOB_INFO and self.thread is None:  # after what is said `onstart`
            self.thread = threading.Thread(target=self.watch, daemon=True)
            self.thread.start()
        elif event == LogEvent.PROGRESS:
            self.jobs = (vars(record)["done"], vars(record)["total"])
        elif event == LogEvent.JOB_ERROR:
            text = failed(vars(record))
        elif str(record.getMessage()).startswith(LAST):
            self.last = f"{self.format(record)}\n"
        elif record.levelno >= WARNING or str(record.getMessage()).startswith(SHOWN):
            text = self.format(record)
        elif not self.hushed:
            self.before.append(self.format(record))
        if text.strip() and text not in self.said and not text.startswith(TWICE):
            self.said.add(text)
            self.write(f"{text}\n")

    def watch(self) -> None:
        """Show how far the study is, again and again."""
        wait = REFRESH if self.terminal else 60.0
        pause = 0.0
        while not self.ended.wait(pause):
            started = time.monotonic()
            self.write(self.words())
            pause = max(wait, (time.monotonic() - started) / SHARE)

    def words(self) -> str:
        """Say how far the study is."""
        if not progress.watched:
            return ""
        config, logs = progress.watched[-1]
        try:
            found = progress.look(config, logs, self.seen, self.at_once, self.started)
        except (OSError, ValueError) as error:  # of a file that Snakemake will stumble over, too
            return f"how far it is cannot be read: {error}"
        self.at_once = max(self.at_once, len(found.running))
        jobs = "; {} of {} jobs".format(*self.jobs) if self.jobs else ""
        more = "; cells may be added" * progress.may_grow(config)
        return f"{progress.words(found)}{more}{jobs}" + "\n" * (not self.terminal)

    def write(self, text: str) -> None:
        """Write a line: one that does not end is overwritten by the next."""
        with self.line:
            if self.terminal and not text.endswith("\n"):
                text = text[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(CLEAR * self.terminal + text)
            sys.stderr.flush()

    def close(self) -> None:
        """Show the last line, and end."""
        if self.thread is not None and not self.ended.is_set():
            self.ended.set()
            self.thread.join()
            self.write(f"{self.words().rstrip()}\n")
            self.write(self.last)
        elif self.shows and not self.hushed and not self.said and self.before:
            said = [text for text in self.before if text.startswith(NOTHING)] or self.before
            self.write("\n".join([*said, ""]))
            self.before = []
        super().close()

    writes_to_stream = property(lambda self: self.shows)
    writes_to_file = property(lambda self: False)
    has_filter = property(lambda self: False)
    has_formatter = property(lambda self: False)
    needs_rulegraph = property(lambda self: False)


def failed(job: dict[str, Any]) -> str:
    """Say in a line which job failed, why, and where more is said."""
    log = next(iter(job["log"]), None)
    why = progress.last_line(Path(log)) if log else ""
    if not why or why.startswith(WARNED):  # as after Ctrl-C, which ends what writes the log before the cell
        why = "its process ended"
        if any(progress.checkpoint_of(Path(path)).exists() for path in job["output"]):
            why += "; a checkpoint is kept, from which the same command goes on"
    return f"failed: {', '.join(job['output']) or job['rule_name']}: {why}" + f" ({log})" * bool(log)
