from __future__ import annotations

from pathlib import Path

import pytest
from deploy_toys import REPORT, gated, read
from safetensors.torch import load_file, save_file

from genus import files
from genus.deploy import publish
from genus.deploy.release import admit
from genus.errors import GenusError, UsageError
from genus.run import Run


def test_a_run_that_passed(tales: Run) -> None:
    made = publish(tales)
    assert (made.forced, made.reasons) == (False, ())
    assert made.json()["deployed"] is True
    evidence = read(tales.path / "deployed.json")
    assert evidence["weights_sha256"] == files.sha256(tales.path / "model.safetensors")
    assert evidence["config_sha256"] == files.sha256(tales.path / "config.json")
    assert evidence["card_sha256"] == files.sha256(made.card)
    assert evidence["gate"] == {"passed": True, "reasons": []}
    assert evidence["time"].endswith("+00:00")
    assert evidence["genus"]


def test_the_card(tales: Run, shapes: Run) -> None:
    card = publish(tales).card.read_text()
    assert card.startswith("---\n")
    for said in (
        "A toy that makes text.",
        "CC0-1.0: 10 items",
        "not stated: 2 items",
        "| bits per byte | 1.25 [1.2, 1.3] | bits/byte | lower is better | test |",
        "xz (baseline)",
        "0.01 kWh (tdp)",
        "The gate passed",
        "## Limits",
        "genus generate tales",
        "client.completions.create",
        "version 3",
    ):
        assert said in card
    assert "against the gate" not in card
    compile(card.split("```python\n")[1].split("```")[0], "card", "exec")
    other = publish(shapes).card.read_text()
    assert "client.images.generate" in other
    compile(other.split("```python\n")[1].split("```")[0], "card", "exec")


def test_a_run_that_did_not_pass(tales: Run) -> None:
    gated(tales, False, "2.1 bits per byte, xz needs 1.9", "12 copies in 1,000")
    with pytest.raises(GenusError, match=r"2\.1 bits per byte, xz needs 1\.9; 12 copies.*--force") as caught:
        publish(tales)
    assert caught.value.exit_code == 1
    assert not (tales.path / "card.md").exists()
    assert not (tales.path / "deployed.json").exists()
    with pytest.raises(GenusError, match="not fit"):
        admit(tales)

    made = publish(tales, force=True)
    assert made.forced
    assert read(made.deployed)["forced"] is True
    assert read(made.deployed)["gate"]["reasons"] == ["2.1 bits per byte, xz needs 1.9", "12 copies in 1,000"]
    card = made.card.read_text()
    assert "Published against the gate" in card
    assert "12 copies in 1,000" in card
    assert "The gate passed" not in card
    admit(tales)


def test_force_holds_for_these_weights_alone(tales: Run) -> None:
    gated(tales, False, "bad")
    publish(tales, force=True)
    weights = tales.path / "model.safetensors"
    save_file({k: v + 1 for k, v in load_file(weights).items()}, weights)
    with pytest.raises(GenusError, match="bad"):
        admit(tales)


def test_a_run_that_was_never_validated(tales: Run) -> None:
    (tales.path / "report.json").unlink()
    with pytest.raises(GenusError, match=r"never validated.*genus validate tales"):
        publish(tales)
    card = publish(tales, force=True).card.read_text()
    assert "never validated" in card


def test_a_report_about_other_weights(tales: Run) -> None:
    files.write_json(tales.path / "report.json", {**REPORT, "weights_sha256": "0" * 64})
    with pytest.raises(GenusError, match="about other weights"):
        publish(tales)
    judged = files.sha256(tales.path / "model.safetensors")
    files.write_json(tales.path / "report.json", {**REPORT, "weights_sha256": judged})
    assert not publish(tales).forced


@pytest.mark.parametrize("report", [{}, {"gate": "yes"}, []])
def test_a_report_that_is_none(tales: Run, report: object) -> None:
    files.write_json(tales.path / "report.json", report)
    with pytest.raises(GenusError, match="is no report"):
        publish(tales, force=True)


@pytest.mark.parametrize("passed", ["true", 1, None])
def test_only_true_has_passed(tales: Run, passed: object) -> None:
    files.write_json(tales.path / "report.json", {**REPORT, "gate": {"passed": passed}})
    with pytest.raises(GenusError, match="gives no reason"):
        publish(tales)


def test_an_unfinished_run_cannot_be_forced(tales: Run) -> None:
    (tales.path / "summary.json").unlink()
    with pytest.raises(UsageError, match="not finished"):
        publish(tales, force=True)


def test_reasons_cannot_become_markup(tales: Run, tmp_path: Path) -> None:
    gated(tales, False, "a <script>\n\n# heading")
    card = publish(tales, force=True).card.read_text()
    assert "> - a &lt;script> # heading" in card
