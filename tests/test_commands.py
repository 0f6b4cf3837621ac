"""The console script ``kipax``: its list, its help, and that it is light."""

import importlib
import json
import os
import subprocess
import sys

import pytest

import kipax
from kipax import commands

NAMES = sorted(commands.list_commands())


def _kipax(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "kipax", *words],
        cwd=cwd,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _main(monkeypatch, *words):
    """In this process, for what ends before a command is imported."""
    monkeypatch.setattr(sys, "argv", ["kipax", *words])
    commands.main()


def test_the_commands():
    assert {"kip", "label_solve", "subsets", "evaluate", "plan", "checkpoints"} <= set(NAMES)
    assert {"analyse", "part", "released"} <= set(NAMES)


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)], ids=str)
def test_the_list_has_a_line_a_command(monkeypatch, capsys, words):
    _main(monkeypatch, *words)
    lines = capsys.readouterr().out.splitlines()
    for name, about in commands.list_commands().items():
        assert about.endswith((".", ")", "?")), name
        assert any(line.split() == [name, *about.split()] for line in lines)


def test_the_version(monkeypatch, capsys):
    _main(monkeypatch, "--version")
    assert capsys.readouterr().out == f"kipax {kipax.__version__}\n"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("evalute", "unknown command 'evalute'; did you mean evaluate? Choices: analyse, "),
        ("label-slove", "unknown command 'label-slove'; did you mean label_solve?"),
        ("nonsense", "unknown command 'nonsense'. Choices: analyse, checkpoints, evaluate, kd"),
        ("__init__", "unknown command '__init__'."),
        ("", "unknown command ''."),
        ("--dataset=digits", "a command comes before its flags; got '--dataset=digits'"),
    ],
)
def test_an_unknown_command_is_one_sentence(monkeypatch, capsys, word, message):
    with pytest.raises(SystemExit) as stop:
        _main(monkeypatch, word)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


_OFTEN = ("kip", "kd")  # the others are slow
_HELPED = [n if n in _OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]


@pytest.mark.parametrize("name", _HELPED)
def test_help_explains_a_command_and_its_flags(name):
    done = _kipax(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    module = importlib.import_module(f"kipax.commands.{name}")
    assert done.stdout.startswith(module.__doc__.strip())
    assert f"kipax {name} " in module.__doc__  # the command as it is typed
    assert f"kipax {name}:\n" in done.stdout
    assert "--[no]debug" in done.stdout
    assert len(done.stdout.partition("flags:")[2].split("\n  -")) > 3  # its own, not absl's alone
    assert "--verbosity" not in done.stdout


def test_only_the_chosen_command_is_imported():
    code = (
        "import sys, kipax.commands\n"
        "sys.argv = ['kipax', 'label-solve', '--help']\n"
        "try: kipax.commands.main()\n"
        "finally: print([m for m in sys.modules if m.startswith('kipax.commands.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['kipax.commands.label_solve']"


@pytest.mark.slow
def test_a_command_from_anywhere(tmp_path):
    """Outside the checkout, hyphens or not; flags are checked by the command."""
    done = _kipax("kip", "--architecture=fc1", "--support=10", "--steps=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    support = "runs/digits-fc1-10/support.npz"
    assert f"      kipax evaluate {support} --baselines\n" in done.stderr
    done = _kipax("evaluate", support, "--eval_examples=60", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test_examples"] == 60
    done = _kipax("label-solve", "--nonsense", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "Unknown command line flag 'nonsense' (--help lists the flags)\n"


@pytest.mark.parametrize("name", NAMES)
def test_experiments_call_the_same(name):
    experiment = importlib.import_module(f"experiments.{name}")
    assert experiment.main is importlib.import_module(f"kipax.commands.{name}").main


def test_nobody_with_the_library_alone_is_sent_to_a_checkout():
    folder = commands._FOLDER.parent
    named = [p for p in folder.rglob("*.py") if "python -m experiments" in p.read_text()]
    assert named == []
