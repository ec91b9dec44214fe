"""The bodies of requests and answers; the OpenAPI document is made of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt, StrictStr

Count = Annotated[int, Field(ge=0)]
OptionValue = StrictBool | StrictInt | FiniteFloat


class LibreRequest(BaseModel):
    """A request in LibreTranslate's form; fields that it does not have are ignored."""

    model_config = ConfigDict(extra="ignore")

    q: StrictStr | list[StrictStr] = Field(description="text, or list of texts")
    source: StrictStr = Field(description="language of the texts; auto: the only one that the target has")
    target: StrictStr = Field(description="language to translate into")
    format: Literal["text", "html"] = Field(
        "text", description="html: tags are kept, and texts between them translated"
    )
    alternatives: Count = Field(0, description="other translations wanted of each text; none for html")
    api_key: StrictStr | None = Field(None, description="key, where the server has keys")


class DetectedLanguage(BaseModel):
    """The language of a text; the server does not look at the text, so that the confidence is 0."""

    confidence: float
    language: str


class LibreAnswer(BaseModel):
    """An answer in LibreTranslate's form: lists where the request has a list."""

    translatedText: str | list[str]  # noqa: N815
    alternatives: list[str] | list[list[str]] | None = None
    detectedLanguage: DetectedLanguage | list[DetectedLanguage] | None = None  # noqa: N815


class TranslateRequest(BaseModel):
    """A request for translations with all that the model says about them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: list[str] = Field(description="texts", min_length=1)
    source: str | None = Field(None, description="language of the texts; null: the only one that the target has")
    target: str | None = Field(None, description="language to translate into; null: the only one there is")
    alternatives: Count = Field(0, description="other translations wanted of each text")
    alignment: bool = Field(False, description="align the words of each translation with those of its text")
    canvas: bool = Field(False, description="show the canvas after each pass")
    search: Literal["auto", "none"] = Field("auto", description="auto: the model's own search; none: one pass")
    options: dict[str, OptionValue] = Field({}, description="options of the search, see GET /v1/models")
    glossary: dict[str, str] = Field({}, description="terms of the texts, and translations that the search prefers")
    api_key: str | None = Field(None, description="key, where the server has keys")


class Token(BaseModel):
    """A token of a translation."""

    token: str
    confidence: float = Field(description="probability that it is right, 0 to 1")
    word: int | None = Field(None, description="the word of the translation that it lies in, from 0; with alignment")


class Alternative(BaseModel):
    """Another translation of a text."""

    text: str
    score: float | None = Field(description="mean log-probability of a token")


class Slot(BaseModel):
    """A position of a canvas."""

    symbol: str | None = Field(description="symbol of the target vocabulary; null: a blank")
    probability: float = Field(description="of the symbol, when it was last predicted")
    again: bool = Field(description="whether this pass hid the position and predicted it again")
    kept: bool = Field(
        description="whether it is part of the text: no blank, no special symbol, no repeat of its neighbour"
    )


class Pass(BaseModel):
    """The canvas after a pass."""

    text: str
    slots: list[Slot]


class Written(BaseModel):
    """The passes of a sentence; a text that is too long for the model has several sentences."""

    source: str
    passes: list[Pass]


class Translated(BaseModel):
    """The translation of a text."""

    text: str
    score: float | None = Field(description="mean log-probability of a token; null without a translation")
    alternatives: list[Alternative]
    tokens: list[Token]
    alignment: list[list[int]] = Field(description="of each word the words of the source, from 0; [] without")
    written: list[Written] | None = Field(None, description="with canvas: how each sentence was written")
    milliseconds: float = Field(description="from the arrival of the request to this translation")
    error: str | None = Field(None, description="why there is no translation")


class TranslateAnswer(BaseModel):
    """Translations, one of each text, in order."""

    source: str
    target: str
    translations: list[Translated]


class Failure(BaseModel):
    """Why there is no answer."""

    error: str


class Language(BaseModel):
    """A language of the server."""

    code: str
    name: str
    targets: list[str]


class ModelAnswer(BaseModel):
    """A model of the server."""

    source: str
    target: str
    longest: int = Field(description="tokens of the longest source that it reads at once")
    options: dict[str, Any] = Field(description="options of the search, with the folder's values")
    refines: bool = Field(description="whether it makes passes of refinement")
    searches: bool = Field(description="whether it has a beam search, and so glossaries and alternatives")
