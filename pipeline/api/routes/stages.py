"""Stages: the catalogue of this installation and the essence of each model card."""

from fastapi import APIRouter

from models.card import CARD_FILE, Label, ModelCard, read_card
from models.errors import CardError
from models.spec import StageSpec
from pipeline.api.deps import ContextDep
from pipeline.api.problems import Kind, documented
from pipeline.api.schemas import (
    CardPublic,
    LabelPublic,
    OperatingPointPublic,
    StagePublic,
    StagesPublic,
)

router = APIRouter(prefix="/v1/stages", tags=["stages"])


@router.get("", response_description="The catalogue", responses=documented(Kind.INTERNAL))
def list_stages(context: ContextDep) -> StagesPublic:
    """Which stages run after which, and the model behind each."""
    return StagesPublic(stages=[_stage(stage) for stage in context.stages])


def _stage(stage: StageSpec) -> StagePublic:
    card, error = None, None
    try:
        card = _card(read_card(stage.weights_dir / CARD_FILE))
    except CardError:
        # The error names paths of this machine; `xraytriage doctor` shows them to its operator.
        error = "no valid model card is installed for this stage"
    return StagePublic(name=stage.name, after=stage.after, on=stage.on, card=card, card_error=error)


def _card(card: ModelCard) -> CardPublic:
    return CardPublic(
        model_version=card.model_version,
        architecture=card.architecture,
        input_px=card.input_px,
        labels=[_label(label) for label in card.labels],
        default_operating_point=card.default_operating_point,
        intended_use=card.intended_use,
        disclaimer=card.disclaimer,
    )


def _label(label: Label) -> LabelPublic:
    points = {
        name: OperatingPointPublic(
            threshold=point.threshold,
            sensitivity=point.sensitivity,
            specificity=point.specificity,
        )
        for name, point in label.operating_points.items()
    }
    return LabelPublic(name=label.name, experimental=label.experimental, operating_points=points)
