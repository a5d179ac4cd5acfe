"""The command line as a user meets it: by its output and its exit code."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from unittest import mock

import pytest

from fastweights import cli
from fastweights.errors import RunError
from fastweights.experiments import _section_4_1 as section
from fastweights.training.config import RunConfig
from fastweights.training.records import RunDirectory

TINY = [
    *("--task-options", "num_pairs", "1", "--hidden-size", "8", "--batch-size", "16"),
    *("--train-size", "400", "--validation-size", "50", "--test-size", "100"),
    *("--updates", "60", "--evaluate-every", "20", "--zero-evaluations", "1000"),
]


def process(*arguments, **options):
    """The command in a process of its own, as a user runs it."""
    command = [sys.executable, "-m", "fastweights", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def fastweights(*arguments):
    """The command in this process, which need not import torch for it: (exit code, standard output, standard error)."""
    out, error = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["fastweights", *map(str, arguments)]),
        mock.patch.object(warnings, "showwarning", warnings.showwarning),  # the command sets its own
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            cli.main()
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), error.getvalue())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = fastweights("train", *TINY, "--runs", folder)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "train").iterdir()
    return run


def test_help_does_not_wait_for_torch():
    code = "import sys, fastweights.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    done = process("--help")
    assert done.returncode == 0
    for word in ("reproduce", "train", "recall", "fast_weights", "irnn", "lstm"):
        assert word in done.stdout


def test_train_prints_the_test_error_and_where_the_run_is(trained):
    done = fastweights("train", *TINY, "--runs", trained.parent.parent)
    assert done.returncode == 0
    assert "finished after 60 updates" in done.stdout
    assert "test error" in done.stdout
    assert str(trained) in done.stdout


def test_json_output_is_json_alone(trained):
    done = fastweights("train", *TINY, "--runs", trained.parent.parent, "--json")
    assert json.loads(done.stdout) == RunDirectory.open(trained).result()


def test_recall_answers(trained):
    done = fastweights("recall", trained, "c9??c")
    assert done.returncode == 0
    assert done.stdout.startswith("c9??c → ")
    assert "probability" in done.stdout
    assert "step  2  9" in done.stdout
    values = json.loads(fastweights("recall", trained, "c9??c", "--json").stdout)
    assert values["expected"] == "9"
    assert 0 < values["probability"] <= 1
    assert len(values["attended"]) == 4


@pytest.mark.slow
def test_a_sweep_saves_its_summary_goes_on_where_it_was_and_runs_nothing_twice(tmp_path):
    sweep = ("sweep", *TINY, "--grid", "decay", "0.8", "0.9", "--workers", "1", "--runs", tmp_path, "--json")
    done = fastweights(*sweep)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sorted(each["settings"]["decay"] for each in found["combinations"]) == [0.8, 0.9]
    summary = tmp_path / "sweep" / "summary"
    assert f"{summary}/runs.csv" in found["saved"]
    records = {path: path.stat().st_mtime_ns for path in tmp_path.glob("sweep/*/result.json")}
    assert len(records) == 2
    assert json.loads(fastweights(*sweep).stdout) == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("sweep/*/result.json")} == records
    next(iter(records)).unlink()
    with mock.patch("fastweights.training.sweep.run_all", side_effect=RunError("1 run failed")):
        done = fastweights(*sweep)
    assert (done.returncode, "1 run failed" in done.stderr) == (1, True)
    assert "2 runs: 1 finished, 1 unfinished" in (summary / "summary.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["trian"], "Available subcommands"),
        (["train", "--hiden-size", "8"], "--hidden-size"),
        (["train", "--hidden-size", "-8"], "hidden_size must be at least 1, got -8"),
        (["train", "--task-options", "num_pairs", "27"], "num_pairs must be between 1 and 26, got 27"),
        (["train", "--task-options", "num_pear", "4"], "did you mean 'num_pairs'"),
        (["train", "--task-options", "num_pairs", "4", "num_pairs", "8"], "num_pairs is given twice; give it once"),
        (["train", "--task-options", "num_pairs", "4", "num-pairs", "8"], "num_pairs is given twice; give it once"),
        (["train", "--cell-options", "decay", "0.9", "inner_steps"], "inner_steps needs a value"),
        (["train", "--cell", "lstn"], "did you mean 'lstm'"),
        (["train", "--cell-options", "decay", "-1"], "decay must be finite and at least 0, got -1.0"),
        (["train", "--learning-rate", "fast"], "--learning-rate"),
        (["train", "--schedule", "step"], "--schedule"),
        (["reproduce", "table-9"], "did you mean 'table-1'"),
        (["reproduce", "table-1", "--preset", "papper"], "did you mean 'paper'"),
        (["sweep", "--grid", "dekay", "0.9"], "did you mean 'decay'"),
        (["sweep", "--grid"], "grid needs a name and its values"),
        (["sweep", "--grid", "decay"], "decay needs at least one value"),
        (["sweep", "--grid", "decay", "0.9", "--grid", "decay", "0.5"], "decay is given twice"),
        (["sweep", "--cell-options", "decay", "0.5", "--grid", "decay", "0.9"], "decay is given twice, as an option"),
        (["sweep", "--retries", "-1"], "retries must be at least 0, got -1"),
        (["sweep", "--silence", "0"], "silence must be above 0 seconds"),
        (["sweep", "--range", "learning_rate", "1e-4", "1e-2"], "range needs trials"),
        (["reproduce", "table-1", "--workers", "0"], "workers must be at least 1, got 0"),
        (["recall", "no/such/run", "c9??c"], "no/such/run is not a run directory"),
    ],
)
def test_usage_errors_are_one_message_and_exit_code_2(arguments, complaint, tmp_path, monkeypatch, as_installed):
    monkeypatch.chdir(tmp_path)
    done = fastweights(*arguments)
    assert done.returncode == 2, done
    assert complaint in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_process_exits_with_that_code_and_no_traceback(tmp_path):
    done = process("train", "--hidden-size", "-8", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fastweights: hidden_size must be at least 1, got -8\n"


def test_malformed_text_is_a_usage_error(trained):
    done = fastweights("recall", trained, "c9??k")
    assert (done.returncode, done.stdout) == (2, "")
    assert "asks for 'k', which is not among its keys c" in done.stderr


def test_a_decay_above_one_is_warned_of(tmp_path):
    done = process("train", *TINY, "--runs", tmp_path, "--updates", "1", "--cell-options", "decay", "1.01")
    assert done.returncode == 0
    assert done.stderr.count("decay = 1.01 is above 1") == 1
    assert "loop.py" not in done.stderr


def test_a_damaged_run_is_a_failure_with_one_message(tmp_path):
    assert fastweights("train", *TINY, "--runs", tmp_path).returncode == 0
    (run,) = (tmp_path / "train").iterdir()
    (checkpoint,) = run.glob("checkpoint-*")
    (checkpoint / "best.safetensors").write_bytes(b"torn")
    done = fastweights("recall", run, "c9??c")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_a_failure_with_one_message(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    done = fastweights("train", *TINY, "--runs", tmp_path / "runs")
    assert done.returncode == 1
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_loses_nothing_and_the_same_command_goes_on(tmp_path):
    command = [sys.executable, "-m", "fastweights", "train", *TINY, "--runs", str(tmp_path)]
    command[command.index("60")] = "1000"
    # Where the tests run in the background of a shell, children ignore Ctrl-C unless told not to.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("train/*/checkpoint-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted; nothing is lost" in messages
    assert "Traceback" not in messages
    (run,) = map(RunDirectory, (tmp_path / "train").iterdir())
    assert run.result() is None
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    steps = [entry["step"] for entry in run.metrics()]
    assert steps == list(range(20, 1001, 20))
    with run.locked():
        pass


@pytest.mark.parametrize(
    ("error", "message"), [(KeyboardInterrupt(), "interrupted"), (OSError("disk full"), "disk full")]
)
@pytest.mark.parametrize(("command", "resumes"), [(cli.Train, True), (cli.Verify, False), (cli.Bench, False)])
def test_only_a_command_that_resumes_promises_to(command, resumes, error, message, monkeypatch, capsys):
    def stop(_):
        raise error

    monkeypatch.setattr(command, "run", stop)
    monkeypatch.setattr(sys, "argv", ["fastweights", command.__name__.lower()])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith(f"fastweights: {message}")
    assert ("the same command goes on" in said) == resumes


def test_a_bench_that_cannot_save_is_refused_before_it_times_anything(tmp_path):
    (tmp_path / "file").write_text("a file where the folder should be")
    done = fastweights("bench", "--output", tmp_path / "file" / "inside")
    assert (done.returncode, done.stdout) == (2, "")
    assert "output must be a place that can be written" in done.stderr
    assert "timing" not in done.stderr


@pytest.mark.slow
def test_reproduce_prints_the_table_saves_the_figure_and_runs_nothing_twice(tmp_path, monkeypatch):
    """The quick preset with its updates and sizes cut down; the command is otherwise the user's."""
    models = section.PRESETS["quick"].models | {"irnn": section.Candidates((1e-3, 3e-3))}
    small = {"models": models, "hidden_sizes": (50,), "updates": 40, "evaluate_every": 20}
    monkeypatch.setitem(section.PRESETS, "quick", dataclasses.replace(section.PRESETS["quick"], **small))
    few = {"train_size": 500, "validation_size": 50, "test_size": 100}
    monkeypatch.setattr(section, "RunConfig", lambda **fields: RunConfig(**few, **fields))
    monkeypatch.chdir(tmp_path)
    command = ["reproduce", "table-1", "--output", tmp_path / "out"]
    first = fastweights(*command)
    assert first.returncode == 0, first.stderr
    assert "no-binding floor (61.65 %)" in " ".join(first.stdout.split())
    assert "Fast weights" in first.stdout
    for name in ("table.md", "table.json", "figure-2.svg", "figure-2.png"):
        assert f"saved {tmp_path}/out/{name}" in first.stdout
        assert (tmp_path / "out" / name).stat().st_size > 0
    screened = [json.loads(path.read_text())["result"]["config"] for path in tmp_path.glob("out/screening/*.json")]
    assert {(c["cell"], c["learning_rate"], c["seed"]) for c in screened} == {("irnn", 1e-3, 0), ("irnn", 3e-3, 0)}
    assert "records of other runs" not in first.stderr
    stray = tmp_path / "out" / "runs" / "lstm-50-seed9-0123456789ab.json"
    stray.write_text("{}")
    again = fastweights(*command, "--json")
    assert f"holds 1 records of other runs, left as they are: {stray}" in again.stderr
    assert stray.read_text() == "{}"
    table = json.loads(again.stdout)
    assert {row["cell"] for row in table["rows"]} >= {"irnn", "lstm", "fast_weights"}
    assert "updates" not in again.stderr  # no worker had anything to report
    assert os.listdir(tmp_path / "runs") == ["section-4-1"]
    so_far = fastweights(*command, "--so-far")
    assert "3 runs to report are over, and 0 that are known to be wanted are not" in " ".join(so_far.stderr.split())
    assert so_far.stdout == first.stdout
    assert "other runs" not in so_far.stderr


def test_run_errors_are_not_usage_errors():
    assert not issubclass(RunError, ValueError)
