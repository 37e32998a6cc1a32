"""Films as people have them: containers, codecs, times, pixels, turns and sound.

Oracles: each frame is of a grey of its own, and a tone begins at a known time.
"""

import itertools
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from films import SIDE, STEP, click, grey, indices, onset, write_film
from PIL import Image

from facsimile.data import film as films
from facsimile.data.film import VideoError, open_film
from facsimile.data.hdr import HLG, PEAK, PQ, WHITE, compress, tone_map
from facsimile.data.video import open_frames
from facsimile.data.video_writer import VideoWriter

EVEN = [k / 25 for k in range(8)]
PAL = {"base": Fraction(1, 25)}
KINDS = {
    "a.ts": {"codec": "mpeg2video", **PAL},
    "a.mts": {"codec": "libx264", "format": "mpegts"},
    "a.mpg": {"codec": "mpeg1video", **PAL},
    "a.wmv": {"codec": "wmv2", **PAL},
    "a.flv": {"codec": "flv", **PAL},
    "a.3gp": {"codec": "mpeg4", **PAL},
    "a.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", **PAL},
    "a.mkv": {"codec": "ffv1"},
    "a.mov": {"codec": "qtrle", "pix_fmt": "rgb24"},
    "a.webm": {"codec": "libvpx"},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "nameless": {"codec": "libx264", "format": "mp4"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read(tmp_path, name):
    options = dict(KINDS[name])
    side = 64 if "av1" in name else SIDE
    pictures = [grey(k, side, side) for k in range(len(EVEN))]
    frames = open_frames(write_film(tmp_path / name, EVEN, pictures=pictures, **options))
    assert (frames.fps, frames.count, frames.sound) == (25, 8, None)
    assert indices(frames) == list(range(8))


UNEVEN = {
    "browser.webm": ([0.006, 0.068, 0.082, 0.121, 0.164, 0.209, 0.25, 0.28, 0.33], "libvpx", 25),
    "gap.mp4": ([0, 0.033, 0.067, 0.1, 1.6, 1.633, 1.667, 1.7], "libx264", 30),
    "phone.mov": ([0, 0.033, 0.1, 0.133, 0.167, 0.3, 0.333, 0.367], "libx264", 30),
    "screen.mkv": ([5.0, 5.9, 5.917, 5.933, 5.95, 5.967, 6.9, 6.917], "ffv1", 60),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_a_film_keeps_its_times(tmp_path, name):
    """From its first frame on; every frame is within one of the result's of its time."""
    times, codec, rate = UNEVEN[name]
    frames = open_frames(write_film(tmp_path / name, times, codec=codec))
    assert frames.fps == rate
    assert "uneven times" in frames.notes[0]
    shown = indices(frames)
    assert len(shown) == frames.count
    assert abs(len(shown) / rate - (times[-1] - times[0])) < 2.5 / rate
    for index in set(shown):
        assert abs(shown.index(index) / rate - (times[index] - times[0])) <= 1.01 / rate
    assert [frame.repeated for frame in frames] == [
        False,
        *(a == b for a, b in itertools.pairwise(shown)),
    ]
    assert ("the last one is held" in frames.notes[0]) == (name == "gap.mp4")


def test_another_rate_keeps_the_times(tmp_path):
    path = write_film(tmp_path / "a.mp4", EVEN)
    assert indices(open_frames(path, fps=50)) == [k // 2 for k in range(16)]
    assert open_frames(path, fps=5).count == 2


ANIMATIONS = {
    "a.gif": {"duration": [40, 40, 40, 0, 40, 200], "disposal": 2},
    "a.webp": {"duration": [40, 40, 40, 100, 40, 200], "lossless": True},
    "a.png": {"duration": [40, 40, 40, 100, 40, 200]},
}


@pytest.mark.parametrize("name", ANIMATIONS)
def test_animated_pictures_are_films(tmp_path, name):
    """By their own durations; one of 0 is shown for 0.1 s, as browsers do."""
    first, *rest = [Image.fromarray(grey(k)) for k in range(6)]
    first.save(tmp_path / name, save_all=True, append_images=rest, **ANIMATIONS[name])
    frames = open_frames(tmp_path / name)
    assert (frames.fps, frames.count, frames.photos) == (25, 12, None)
    assert indices(frames) == [0, 1, 2, 3, 3, 4, 5, 5, 5, 5, 5, 5]
    first.save(tmp_path / name)
    assert open_frames(tmp_path / name).count == 1


def quarters(width=SIDE, height=SIDE):
    """Brighter from the left, and at the top."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, width // 2 :], picture[: height // 2, : width // 2] = 160, 80
    picture[height // 2 :, : width // 2] = 240
    return picture


TURNS = {
    (0, 1, -1, 0): lambda picture: np.rot90(picture, -1),
    (-1, 0, 0, -1): lambda picture: np.rot90(picture, 2),
    (0, -1, 1, 0): np.rot90,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda picture: picture.swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", TURNS)
def test_a_turned_film_is_shown_upright(tmp_path, matrix):
    """By the matrix of its header, as phones write it: x' = a x + c y, y' = b x + d y."""
    picture = quarters(48, 32)
    content = write_film(tmp_path / "a.mp4", EVEN[:2], pictures=[picture] * 2).read_bytes()
    a, b, c, d = matrix
    before, after = (
        struct.pack(">5i", *(v << 16 for v in five)) for five in ((1, 0, 0, 0, 1), (a, b, 0, c, d))
    )
    start = content.index(b"tkhd")
    (tmp_path / "a.mp4").write_bytes(content[:start] + content[start:].replace(before, after, 1))
    shown = np.asarray(next(iter(open_frames(tmp_path / "a.mp4"))).photo).astype(int)
    assert np.abs(shown - TURNS[matrix](picture).astype(int)).mean() < 4


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(1, 2), Fraction(16, 11)])
def test_pixels_become_square(tmp_path, aspect):
    def setup(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    frames = open_frames(write_film(tmp_path / "a.mp4", EVEN, setup=setup))
    width, height = next(iter(frames)).photo.size
    assert width / height == pytest.approx(aspect, rel=0.02)
    assert min(width, height) == SIDE
    assert f"pixels of {aspect.numerator}:{aspect.denominator}" in frames.notes[1]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "qtrle", "argb"),
        ("a.mkv", "ffv1", "bgra"),
        ("b.mov", "png", "rgba"),
        ("a.webm", "libvpx", "yuva420p"),
        ("b.webm", "libvpx-vp9", "yuva420p"),
    ],
)
def test_transparency_is_shown_on_white(tmp_path, name, codec, pix_fmt):
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    picture[:, SIDE // 2 :, 3] = 255
    path = write_film(
        tmp_path / name,
        EVEN,
        codec=codec,
        pix_fmt=pix_fmt,
        pictures=[picture] * 8,
        options={"auto-alt-ref": "0"} if codec.startswith("libvpx") else {},
    )
    frames = open_frames(path)
    shown = np.asarray(next(iter(frames)).photo)
    # Lossy codecs blur the edge.
    assert shown[:, : SIDE // 2 - 4].min() > 245
    assert shown[:, SIDE // 2 + 4 :].max() < 10
    assert "transparency: shown on white" in frames.notes


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_films_of_high_range_are_tone_mapped(tmp_path, transfer):
    """The white of a page becomes bright and not more; without this it is a middle grey."""
    white = {PQ: 0.581, HLG: 0.75}[transfer]  # ITU-R BT.2408, table 1
    picture = np.full((SIDE, SIDE, 3), round(65535 * white), np.uint16)

    def setup(stream):
        stream.codec_context.color_trc = transfer
        stream.codec_context.color_primaries = stream.codec_context.colorspace = 9

    path = write_film(
        tmp_path / "a.mp4", EVEN, pix_fmt="yuv420p10le", pictures=[picture] * 8, setup=setup
    )
    frames = open_frames(path)
    assert "tone-mapped" in frames.notes[1]
    shown = np.asarray(next(iter(frames)).photo)
    assert 215 < shown.mean() < 250


def test_tone_mapping():
    """Grey stays grey, darker stays darker, hues stay, and the ends are black and white."""
    ramp = np.linspace(0, 65535, 300).astype(np.uint16)
    for transfer in (PQ, HLG):
        mapped = tone_map(np.repeat(ramp[None, :, None], 3, 2), transfer)[0].astype(int)
        assert np.ptp(mapped, axis=1).max() <= 1
        assert (np.diff(mapped[:, 0]) >= 0).all()
        assert (mapped[0] == 0).all()
        assert (mapped[-1] >= 254).all()
    light = np.linspace(0, PEAK / WHITE, 500)
    assert compress(light)[light <= 0.6] == pytest.approx(light[light <= 0.6])
    assert compress(light)[-1] == pytest.approx(1)
    assert (np.diff(compress(light)) > 0).all()


def test_an_interlaced_film_has_no_combs(tmp_path):
    """Fields of two times, a moving edge: every second line is off by 8 pixels, until mended."""
    pictures = []
    for k in range(6):
        picture = np.zeros((64, 64, 3), np.uint8)
        for field in (0, 1):
            picture[field::2, : 8 + 4 * (2 * k + field)] = 200
        pictures.append(picture)
    options = {"x264-params": "tff=1:qp=1"}
    path = write_film(tmp_path / "a.mkv", EVEN[:6], pictures=pictures, options=options)
    frames = open_frames(path)
    assert "interlaced: deinterlaced" in frames.notes

    def combs(picture):
        lines = np.asarray(picture)[..., 1].astype(int)
        return np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean()

    shown = [combs(frame.photo) for frame in frames]
    assert len(shown) == 6
    assert max(shown[1:-1]) < 0.25 * combs(pictures[2])


def test_what_cannot_be_read_is_named(tmp_path):
    whole = write_film(tmp_path / "a.mp4", EVEN).read_bytes()
    for tag in (b"zzq1", b"dvx9", b"abcd"):
        path = tmp_path / "unknown.mp4"
        path.write_bytes(whole.replace(b"avc1", tag).replace(b"avcC", tag[:3] + b"C"))
        with pytest.raises(VideoError, match=f'in the codec "{tag.decode()}"'):
            open_film(path)
    with av.open(str(tmp_path / "song.mp4"), "w") as output:
        track = output.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        output.mux([*track.encode(frame), *track.encode(None)])
    with pytest.raises(VideoError, match="got a file of audio, expected a video"):
        open_film(tmp_path / "song.mp4")
    for name, text in (("a.m3u8", b"#EXTM3U\n#EXTINF:5,\n/etc/passwd\n"), ("a.txt", b"text")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(VideoError, match=f'called "{name[1:]}", expected a video'):
            open_frames(tmp_path / name)


def test_odd_names(tmp_path):
    """Letters that mean something to FFmpeg, and none that does."""
    for name in ("%03d.mp4", "http:a?b.mp4", "é ü\n.mp4", "concat:a|b.mp4"):
        path = write_film(tmp_path / "a.mp4", EVEN[:3]).rename(tmp_path / name)
        assert indices(open_frames(path)) == [0, 1, 2]
        with VideoWriter(tmp_path / f"out {name}", 25) as video:
            video.write(Image.fromarray(grey(1)))
        assert open_frames(tmp_path / f"out {name}").count == 1


def test_damage_costs_frames_and_not_the_film(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (8, SIDE, SIDE, 3), np.uint8)
    options = {"codec": "png", "pix_fmt": "rgb24", "pictures": list(noise)}
    path = write_film(tmp_path / "a.mov", EVEN, **options)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    frames = open_frames(path)
    for _ in range(2):  # counted anew
        assert [frame.repeated for frame in frames].count(True) == 1
        assert frames.count == 8
        assert len(frames.film.damaged) == 1


def test_a_film_that_is_cut_short_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, SIDE, SIDE, 3), np.uint8)
    times, flags = [k / 25 for k in range(50)], {"movflags": "faststart"}
    options = {"pictures": list(noise), "container_options": flags}
    path = write_film(tmp_path / "a.mp4", times, **options)
    assert "cut short" not in " ".join(open_frames(path).notes)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = open_frames(path)
    assert "cut short: its header says 2.00 s, and" in frames.notes[-1]
    assert 10 < len(list(frames)) < 40


def test_the_result_plays_everywhere(tmp_path):
    """H.264 in 4:2:0 with even sides and its index first; or VP9."""
    for name, codec in (("a.mp4", "h264"), ("a.webm", "vp9")):
        with VideoWriter(tmp_path / name, 25) as video:
            for k in range(3):
                video.write(Image.fromarray(grey(k, 33, 35)))
        with av.open(str(tmp_path / name)) as film:
            context = film.streams.video[0].codec_context
            assert (context.codec.canonical_name, context.pix_fmt) == (codec, "yuv420p")
            assert (context.width, context.height) == (34, 36)
        assert indices(open_frames(tmp_path / name)) == [0, 1, 2]
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_without_h264_there_is_vp9(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    with VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(Image.fromarray(grey(1)))
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert film.streams.video[0].codec_context.codec.canonical_name == "vp9"


SOUNDS = {
    "a.mp4": ("aac", 48000, 0.0, "aac, copied"),
    "a.mkv": ("libmp3lame", 44100, 0.0, "mp3, copied"),
    "a.webm": ("libopus", 48000, 0.0, "opus, transcoded to aac"),
    "a.avi": ("pcm_s16le", 22050, 0.0, "pcm_s16le, transcoded to aac"),
    "a.ts": ("mp2", 48000, 0.2, "mp2, transcoded to aac"),
    "b.ts": ("aac", 48000, 0.0, "aac, copied"),
    "late.mkv": ("aac", 32000, 0.3, "aac, copied"),
    "early.mkv": ("flac", 16000, -0.3, "flac, transcoded to aac"),
}


@pytest.fixture(scope="module")
def tone():
    return {hertz: click(hertz) for hertz in (48000, 44100, 32000, 22050, 16000)}


@pytest.mark.parametrize("name", SOUNDS)
def test_the_sound_stays_in_step(tmp_path, name, tone):
    """The tone begins 0.5 s after the sound does, which begins by `start` after the pictures."""
    codec, hertz, start, note = SOUNDS[name]
    begin = 0 if name == "a.avi" else 1  # that container knows no times
    times = [begin + k / 10 for k in range(10)]
    kinds = {".webm": "libvpx", ".ts": "mpeg2video", ".avi": "mjpeg", ".mkv": "ffv1"}
    video = kinds.get(name[-4:].lstrip("."), kinds.get("." + name.split(".")[1], "libx264"))
    path = write_film(
        tmp_path / name,
        times,
        codec=video,
        rate=25 if video == "mpeg2video" else 10,
        pix_fmt="yuvj420p" if video == "mjpeg" else "yuv420p",
        base=Fraction(1, 25 if video == "mpeg2video" else 10),
        sound=(codec, tone[hertz], hertz, begin + start),
    )
    frames = open_frames(path)
    assert frames.sound.note(".mp4") == note
    with VideoWriter(tmp_path / "out.mp4", frames.fps, frames.sound) as out:
        for frame in frames:
            out.write(frame.photo)
    began, found, end = onset(tmp_path / "out.mp4")
    assert found == ("mp3" if codec == "libmp3lame" else "aac")
    early = max(0, -start)  # the film begins with its sound
    assert began == pytest.approx(0.5 + start + early, abs=0.03)
    assert end == pytest.approx(1 + start + early, abs=0.06)
    shown = indices(open_frames(tmp_path / "out.mp4"))
    assert shown.index(1) / frames.fps == pytest.approx(0.1 + early, abs=0.02)


def test_the_same_packets(tmp_path, tone):
    """Copied: every packet of the film's sound, byte for byte; also in a film of another rate."""
    path = write_film(tmp_path / "a.mp4", EVEN, sound=("aac", tone[48000], 48000, 0))
    frames = open_frames(path, fps=10)
    with VideoWriter(tmp_path / "out.mp4", 10, frames.sound) as out:
        for frame in frames:
            out.write(frame.photo)

    def packets(name):
        with av.open(str(tmp_path / name)) as film:
            found = film.demux(film.streams.audio[0])
            return [bytes(packet) for packet in found if packet.size and not packet.is_discard]

    assert packets("out.mp4") == packets("a.mp4")
    assert open_frames(tmp_path / "out.mp4").sound.note(".webm") == "aac, transcoded to opus"


def test_a_film_that_is_stopped_has_as_much_sound(tmp_path, tone):
    path = write_film(
        tmp_path / "a.mp4", [k / 25 for k in range(25)], sound=("aac", tone[48000], 48000, 0)
    )
    frames = open_frames(path)
    with VideoWriter(tmp_path / "out.mp4", frames.fps, frames.sound) as out:
        for frame, _ in zip(frames, range(10), strict=False):
            out.write(frame.photo)
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert film.duration / 1e6 == pytest.approx(0.4, abs=0.03)


def test_a_silence_within_stays(tmp_path, tone):
    """Sound whose packets leave 0.4 s out is transcoded with a silence of 0.4 s."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        track = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        for k in range(10):
            frame = av.VideoFrame.from_ndarray(grey(k), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for first, level in ((0, 0), (9600, 9000)):
            frame = av.AudioFrame.from_ndarray(np.full((1, 3200), level, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, first, Fraction(1, 16000)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    frames = open_frames(path)
    with VideoWriter(tmp_path / "out.mp4", frames.fps, frames.sound) as out:
        for frame in frames:
            out.write(frame.photo)
    assert onset(tmp_path / "out.mp4")[0] == pytest.approx(0.6, abs=0.03)


def test_films_are_streamed(tmp_path, monkeypatch):
    """The tenth frame is not decoded for the first; a gap holds one frame."""
    frames = open_frames(write_film(tmp_path / "a.mkv", [k / 25 for k in range(99)], codec="ffv1"))
    decoded = []
    photo = films.FilmPictures._pull
    monkeypatch.setattr(
        films.FilmPictures, "_pull", lambda self: (decoded.append(x) or x for x in photo(self))
    )
    shown = iter(frames)
    for _ in range(3):
        next(shown)
    assert len(decoded) < 10
    assert STEP * 12 < 255
