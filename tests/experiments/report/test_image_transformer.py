def curve(system, bits, bench="b1", **changes):
    steps = [10, 20, 30][: len(bits)]
    fields = dict(
        problem=dict(
            name="crops",
            model=f"{system}()",
            source="crops of photographs",
            num_held_out_images=64,
            batch_size=16,
        ),
        work=dict(
            parameters=5,
            step_seconds=0.5,
            train_steps=steps,
            train_bits_per_dim=bits,
            held_out_steps=steps,
            held_out_bits_per_dim=bits,
        ),
        provenance=dict(
            bench_id=bench, argv=["bin/train", "--seed=0"], commit="abc", dirty=False
        ),
    )
    return make(system, "", bench=bench, **(fields | changes))


def test_report_renders_both_where_their_records_are(tmp_path, record):
    records.append(tmp_path / "records" / "nuts.jsonl", record("ppl_core"))
    for made in a_round(1):
        records.append(tmp_path / "records" / "image_transformer.jsonl", made)
    path = tmp_path / "records" / "image_transformer_learning.jsonl"
    old = [curve("A", [9.0, 8.0], "old"), curve("B", [9.0, 8.0], "old")]
    for made in [*old, curve("A", [7.0, 6.0, 5.0]), curve("B", [7.5, 6.5])]:
        records.append(path, made)
    assert command.main([f"--results={tmp_path}"]) == 0
    text = (tmp_path / "tables" / "image_transformer_learning.md").read_text()
    # At the steps at which both were judged, and those made together last.
    assert "| 20 | 6.0000 | 6.5000 |" in text and "5.0000" not in text
    assert "9.0000" not in text
    assert "crops of photographs" in text and "`bin/train --seed=0`" in text
    plot = tmp_path / "plots" / "image_transformer_learning.png"
    assert plot.stat().st_size > 10_000
    assert (tmp_path / "tables" / "image_transformer.csv").exists()


def test_what_is_said_of_curves_is_what_their_records_say():
    names = ("A", "B", "C", "D")
    for num, said in ((1, "It saw 16"), (2, "Both saw the same"), (4, "All saw the")):
        text = learning.markdown([curve(n, [7.0]) for n in names[:num]])
        assert said in text and "averaged" not in text
    averaged = curve("A", [7.0], settings=dict(averaged=True))
    assert "A(); weights averaged when judged; 0.50 s" in learning.markdown([averaged])


def test_every_curve_is_drawn_and_told_apart(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(learning.Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    curves = [curve(str(number), [7.0, 6.0 - number]) for number in range(4)]
    curves[1] = curve("1", [7.0, 5.0], settings=dict(averaged=True))
    learning.draw(curves, tmp_path / "plot.png")
    lines = [x for x in drawn[0].axes[0].lines if "held out" in x.get_label()]
    assert len({(x.get_color(), x.get_linestyle()) for x in lines}) == 4
    labels = [x.get_label() for x in lines]
    assert labels[:2] == ["0: held out", "1: held out, weights averaged"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (dict(settings=dict(seed=1)), "records: B saw .*'seed': 1"),
        (dict(work=dict(held_out_steps=[5])), r"no step at which all of \['A', 'B'\]"),
    ],
)
def test_curves_that_do_not_compare_are_an_error(other, said):
    with pytest.raises(ValueError, match=said):
        learning.newest([curve("A", [7.0]), curve("B", [7.0], **other)])
    with pytest.raises(ValueError, match="given 10 curves, wanted at most the 9"):
        learning.newest([curve("A", [7.0])] * 10)


def test_no_curves_are_an_error():
    with pytest.raises(ValueError, match="given none"):
        learning.newest([])
