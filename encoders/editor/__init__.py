"""The feature editor: carries an edit of codes into the feature of one layer."""

from ..kinds import EncoderKind
from .network import EditorConfig, FeatureEditor
from .objective import EditorRecipe
from .settings import EditorSettings

__all__ = ["KIND", "EditorConfig", "EditorRecipe", "EditorSettings", "FeatureEditor"]

KIND = EncoderKind(
    name="editor",
    config=EditorConfig,
    network=FeatureEditor,
    settings=EditorSettings,
    recipe=EditorRecipe,
    predicts="feature edit",
)
