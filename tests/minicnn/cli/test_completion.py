"""minicnn completion: the script completes in a real shell."""

import shutil
import subprocess

import pytest

from minicnn.cli import COMMANDS, main

pytest.importorskip("shtab", reason="the extra 'completion' is not installed")


@pytest.fixture
def bash(tmp_path, capsys):
    """bash(words) -> what the last word may become."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    assert main(["completion", "bash"]) == 0
    said = capsys.readouterr()
    assert "Next: open a new shell" in said.err
    script = tmp_path / "minicnn.bash"
    script.write_text(said.out)

    def complete(*words):
        program = (f"source {script}; COMP_WORDS=(minicnn {' '.join(words)}); COMP_CWORD={len(words)}; _shtab_minicnn; "
                   "echo ${COMPREPLY[@]}")
        ran = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
        return ran.stdout.split()
    return complete


def test_commands_options_and_networks(bash, tmp_path):
    assert set(bash("e")) == {"eval"}
    assert set(bash("''")) >= set(COMMANDS)
    assert bash("train", "--tensor") == ["--tensorboard"]
    assert set(bash("train", "resnet2")) == {"resnet20"}
    assert bash("data", "get", "fash") == ["fashion-mnist"]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "resnet20" in capsys.readouterr().out


def test_on_a_terminal_it_says_where_to_save_it(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["completion", "bash"]) == 0
    assert "Next: save it, with `minicnn completion bash > FILE`" in capsys.readouterr().err


def test_an_unknown_shell_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "powershell"])
    assert "invalid choice" in capsys.readouterr().err
