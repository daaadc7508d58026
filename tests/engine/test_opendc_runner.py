"""Finding Java and the runner, and telling apart how a run ended; a stand-in program takes OpenDC's place."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.engine import get_engine
from opendt.engine.info import opendc_info
from opendt.engine.opendc.install import NEEDED_JARS, find_installation, find_runner
from opendt.engine.opendc.java import find_java
from opendt.engine.opendc.runner import Finished, command_line, failure, run_program, stack_cause
from opendt.errors import EngineBusyError, EngineError, MissingDependencyError
from opendt.settings import OpenDCSettings, Settings

EMPTY = {"PATH": ""}


@pytest.fixture(autouse=True)
def no_other_java(monkeypatch):
    monkeypatch.setattr("opendt.engine.opendc.java._KNOWN", ())


def test_the_setting_comes_before_java_home_and_path(stand_in):
    other = stand_in.java("23", stand_in.folder / "other")
    environment = {"JAVA_HOME": str(other), "PATH": str(other / "bin")}
    assert find_java(stand_in.java_home, environment).version == "25.0.1"
    assert find_java(None, environment).source == "JAVA_HOME"
    assert find_java(None, {"PATH": str(other / "bin")}).source == "PATH"


def test_a_java_home_that_is_too_old_is_passed_over(stand_in):
    old, new = stand_in.java("17.0.15", stand_in.folder / "old"), stand_in.java("21", stand_in.folder / "new")
    found = find_java(None, {"JAVA_HOME": str(old), "PATH": str(new / "bin")})
    assert (found.major, found.source) == (21, "PATH")


def test_a_setting_that_is_too_old_is_an_error(stand_in):
    old, new = stand_in.java("1.8.0_402", stand_in.folder / "old"), stand_in.java("21", stand_in.folder / "new")
    with pytest.raises(MissingDependencyError, match=r"Java 21 or newer; found .*8\.0_402"):
        find_java(old, {"PATH": str(new / "bin")})


def test_known_locations_are_searched_newest_first(stand_in, monkeypatch):
    for version in ("17.0.1", "25", "21"):
        stand_in.java(version, stand_in.folder / "jvm" / version)
    monkeypatch.setattr("opendt.engine.opendc.java._KNOWN", (str(stand_in.folder / "jvm/*"),))
    assert find_java(None, EMPTY).major == 25


def test_a_program_that_is_no_java_is_passed_over(tmp_path):
    program = tmp_path / "bin/java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    with pytest.raises(MissingDependencyError, match="does not tell its version"):
        find_java(None, {"PATH": str(tmp_path / "bin")})


@pytest.mark.parametrize("below", ["", "OpenDCExperimentRunner", "opendc/bin/OpenDCExperimentRunner"])
def test_the_runner_is_found_in_its_folder_and_in_a_clone(tmp_path, below):
    (tmp_path / below / "lib").mkdir(parents=True)
    (tmp_path / below / "lib/a.jar").write_bytes(b"jar")
    assert find_runner(tmp_path).home == tmp_path / below


def test_the_start_script_alone_will_do(stand_in, tmp_path):
    script = tmp_path / "script/bin/OpenDCExperimentRunner"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    installation = find_installation(tmp_path / "script", stand_in.java_home, EMPTY)
    arguments, extra = command_line(installation, "experiment.json", ["-Xmx1g"])
    assert arguments == [str(script), "--experiment-path", "experiment.json"]
    assert extra == {"JAVA_HOME": str(stand_in.java_home), "JAVA_OPTS": "-Xmx1g"}


def test_the_content_hash_follows_the_jars(stand_in):
    before = find_runner(stand_in.home).content_hash
    jar = next((stand_in.home / "lib").glob("zstd*"))
    jar.write_bytes(b"another build")
    assert find_runner(stand_in.home).content_hash != before


@pytest.mark.parametrize("home", [None, Path("/no/such/folder")])
def test_without_opendc_one_error_says_how_to_get_it(home):
    with pytest.raises(MissingDependencyError) as caught:
        get_engine("opendc", Settings(opendc=OpenDCSettings(home=home)))
    for part in ("atlarge-research/opendt", "opendc/bin/OpenDCExperimentRunner", "OPENDC_HOME", "native engine works"):
        assert part in caught.value.message


def test_a_copy_without_a_needed_jar_is_refused_by_its_name(stand_in):
    next((stand_in.home / "lib").glob("hadoop-common*")).unlink()
    with pytest.raises(MissingDependencyError, match="hadoop-common"):
        find_installation(stand_in.home, stand_in.java_home, EMPTY)


def test_relative_folders_work_from_anywhere(stand_in, monkeypatch):
    monkeypatch.chdir(stand_in.folder)
    installation = find_installation(Path("opendc"), Path("jdk"), EMPTY)
    assert installation.runner.home == stand_in.home
    assert installation.java.program == stand_in.java_home / "bin/java"


class TestInfo:
    def test_a_complete_installation_is_ready(self, stand_in):
        facts = opendc_info(stand_in.settings())
        assert facts["ready"] is True
        assert facts["missing"] == []
        assert "25.0.1" in facts["java"]

    def test_what_is_missing_is_listed(self, stand_in, monkeypatch):
        next((stand_in.home / "lib").glob("zstd*")).unlink()
        old = stand_in.java("17", stand_in.folder / "old")
        facts = opendc_info(stand_in.settings(java_home=old))
        assert facts["ready"] is False
        assert any("zstd-jni" in text for text in facts["missing"])
        assert any("Java 21" in text for text in facts["missing"])

    def test_the_command_prints_one_json_object(self, stand_in, monkeypatch):
        monkeypatch.setenv("OPENDC_HOME", str(stand_in.home))
        monkeypatch.setenv("OPENDT_OPENDC__JAVA_HOME", str(stand_in.java_home))
        facts = json.loads(CliRunner().invoke(app, ["engine", "info", "--json"]).stdout)
        assert facts["native"]["ready"] is True
        assert facts["opendc"]["jars"] == len(NEEDED_JARS)

    def test_the_command_succeeds_without_opendc(self, monkeypatch):
        monkeypatch.delenv("OPENDC_HOME", raising=False)
        done = CliRunner().invoke(app, ["engine", "info"])
        assert done.exit_code == 0
        assert "OPENDC_HOME is not set" in " ".join(done.stdout.split())


class TestRunning:
    def shell(self, tmp_path, script: str, timeout_s: float = 20.0) -> Finished:
        return run_program(["/bin/sh", "-c", script], tmp_path, timeout_s, {"GREETING": "hello"})

    def test_output_is_kept_in_files(self, tmp_path):
        finished = self.shell(tmp_path, 'echo "$GREETING"; echo trouble >&2')
        assert (finished.status, finished.stderr) == (0, "trouble\n")
        assert (tmp_path / "stdout.txt").read_text() == "hello\n"
        assert failure(finished, tmp_path, 1.0) is None

    def test_the_time_limit_ends_the_whole_process_group(self, tmp_path):
        finished = self.shell(tmp_path, "sleep 60 & echo $! > child; trap '' TERM; wait; sleep 60", timeout_s=0.3)
        error = failure(finished, tmp_path, 0.3)
        assert isinstance(error, EngineError)
        assert error.facts["reason"] == "timeout"
        assert "opendc.timeout_s" in error.message
        assert _gone(int((tmp_path / "child").read_text()))

    def test_children_left_behind_by_a_finished_program_are_ended(self, tmp_path):
        self.shell(tmp_path, "sleep 60 & echo $! > child; exit 0")
        assert _gone(int((tmp_path / "child").read_text()))

    def test_a_program_that_cannot_start_is_an_engine_error(self, tmp_path):
        with pytest.raises(EngineError, match="could not be started"):
            run_program([str(tmp_path / "absent")], tmp_path, 1.0, {})

    @pytest.mark.parametrize(
        ("status", "stderr"),
        [
            (1, "java.lang.OutOfMemoryError: Java heap space"),
            (1, "There is insufficient memory for the Java Runtime Environment to continue."),
            (1, "Caused by: java.io.IOException: No space left on device"),
            (1, "unable to create native thread: possibly out of memory"),
            (-9, ""),
            (137, ""),
            (143, ""),
        ],
    )
    def test_want_of_memory_disk_or_a_kill_may_succeed_later(self, tmp_path, status, stderr):
        assert isinstance(failure(Finished(status, 1.0, stderr), tmp_path, 1.0), EngineBusyError)

    def test_a_stack_trace_becomes_one_sentence(self, tmp_path):
        stderr = (
            'Exception in thread "main" java.lang.RuntimeException: outer\n\tat a.B(C.java:1)\n'
            "Caused by: java.lang.IllegalArgumentException: topology.json is odd.\n\tat a.D(E.java:2)\n\t... 3 more\n"
        )
        error = failure(Finished(1, 1.0, stderr), tmp_path, 1.0)
        assert isinstance(error, EngineError)
        assert error.facts["reason"] == "IllegalArgumentException: topology.json is odd"

    def test_an_incomplete_copy_is_recognised(self, tmp_path):
        stderr = 'Exception in thread "main" java.lang.NoClassDefFoundError: org/apache/hadoop/fs/Path\n'
        error = failure(Finished(1, 1.0, stderr), tmp_path, 1.0)
        assert "incomplete" in str(error)

    def test_noise_alone_is_no_cause(self):
        assert stack_cause("WARNING: unsafe\rSimulating... 0%\r") == "it gave no reason"
        assert stack_cause("Error: something is off.\nWARNING: x\n") == "Error: something is off"


def _gone(pid: int) -> bool:
    """Whether a process has ended (a zombie waiting for its parent counts as ended)."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False
