"""How often a label should be met, and how its scores lie: what drift is seen against.

From the share of a label in the training data, and from sensitivity and specificity at the
operating point in use, follows how often an equal mix of images would be called positive.
"""

from models.card import QUANTILES, Label, ModelCard


def expected_shares(card: ModelCard, operating_point: str) -> dict[str, float]:
    """Label -> expected share of images with it, in [0, 1]; labels without figures are left out.

    For a head that gives one answer, errors of the others are taken to cancel out: the share is
    that of the training data.
    """
    shares = {label.name: _share(card, label, operating_point) for label in card.labels}
    if card.is_yes_no:
        no, yes = card.label_names
        positive = shares[yes]
        shares[no] = None if positive is None else 1.0 - positive
    return {name: share for name, share in shares.items() if share is not None}


def expected_scores(card: ModelCard) -> dict[str, dict[float, float]]:
    """Label -> quantile -> score on the validation images; labels without them are left out."""
    return {
        label.name: dict(zip(QUANTILES, label.score_quantiles, strict=True))
        for label in card.labels
        if label.score_quantiles is not None
    }


def _share(card: ModelCard, label: Label, operating_point: str) -> float | None:
    prevalence, point = label.prevalence_train, label.operating_points.get(operating_point)
    if prevalence is None:
        return None
    if point is None:
        return prevalence if card.activation == "softmax" else None
    if point.sensitivity is None or point.specificity is None:
        return None
    return prevalence * point.sensitivity + (1.0 - prevalence) * (1.0 - point.specificity)
