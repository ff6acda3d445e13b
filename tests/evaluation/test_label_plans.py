"""Plans from labels: what the rows of one model say of human labels must agree."""

import numpy as np

from ops.stages.label_plans import plan_labels
from tests.evaluation.win_rate_tables import commit, opened


def test_how_alike_pairs_of_a_problem_are_is_told_once(tmp_path):
    """Eight problems with 20 pairs, one label for each: labels alone cannot say how alike pairs of a problem are, and
    1 is supposed of them. The judge, who sees all 160, can; the row of human labels takes it from there.
    """
    lab = opened(tmp_path)
    random = np.random.default_rng(0)
    ids = [(f"m{i}-{j}", i, j) for i in range(8) for j in range(20)]
    shared = {"model": "m", "reference": "ref", "is_identical": False}
    pairs = [{"pair_id": name, "problem_id": f"p{i}", "sample_index": j, **shared} for name, i, j in ids]
    commit(lab, "pairs", "pairs", pairs)
    score = {name: float(random.random()) for name, _, _ in ids}
    judged = [{"pair_id": name, "model": "m", "judge": "x", "score": score[name]} for name, _, _ in ids]
    commit(lab, "synthetic_judgements", "synthetic_judgements", judged)
    labels = [
        {"pair_id": name, "model": "m", "annotator": "ann", "label": float(score[name] > 0.5), "wave": 0}
        for name, _, j in ids
        if j == 0
    ]
    commit(lab, "human_labels", "human_labels", labels)
    human, judge = plan_labels(lab, 0.25)
    assert (human.judge, judge.judge) == (None, "x")
    assert human.needed is not None and judge.needed is not None
    assert human.needed.human is not None
    assert human.needed.human == judge.needed.human
    lab.close()
