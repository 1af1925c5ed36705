"""What a voice may be asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from edge.pipelines.options import Asked, Option

SPEAKER = "edge-speaks"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeechOptions(Asked):
    """Of a model that speaks."""

    TITLE: ClassVar[str] = "Options of a model that speaks"
    PIPELINE: ClassVar[str | None] = "edge_speech"
    MODEL: ClassVar[str] = SPEAKER

    voice: Annotated[
        Path | None,
        Option(
            help="A recording of the voice to speak in, 1 to 10 seconds: WAV, FLAC, Ogg or MP3. Ask whoever it is."
        ),
    ] = None
    out: Annotated[
        Path | None,
        Option(
            help="The sound: a .wav file, or - for stdout. Of a model that points: the picture with its regions, "
            ".png or .jpg.",
            letter="o",
        ),
    ] = None
    source: Annotated[
        Path | None,
        Option(
            help="A recording to say again in the voice, of at most 50 seconds: as long and as high as there. "
            "A text says what is said in it.",
            name="from",
        ),
    ] = None
    edit: Annotated[
        str | None,
        Option(
            help='Of --from and its text: "old words=>new words", in the voice of the recording.'
        ),
    ] = None
    steps: Annotated[
        int | None,
        Option(help="Steps of the network that makes sound: 1 if left out.", low=1, high=64),
    ] = None
    alpha: Annotated[
        float | None,
        Option(help="How lively: the share of chance in lengths and pitch, 0 to 2. 0.2."),
    ] = None
    speed: Annotated[float | None, Option(help="Above 1 is faster: 0.25 to 4.")] = None
    takes: Annotated[
        int | None,
        Option(
            help="Say it so many times, each with the next seed: out-1.wav and so on.",
            low=1,
            high=99,
        ),
    ] = None
    picture: Annotated[
        Path | None,
        Option(help="Draw what was said, its spectrum and its phonemes, as a .svg file."),
    ] = None

    def chooses(self) -> bool:
        spoken = self.out is not None and self.out.suffix.lower() == ".wav"
        return self.voice is not None or self.source is not None or spoken
