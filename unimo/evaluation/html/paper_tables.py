"""The results that the UniMo paper printed, as printed: for the report, beside ours and apart from them.

They are not comparable with ours: other data (300 clips of Human4DiT-Video, DNA-Rendering, 3DPW, RICH and BEDLAM, with
GVHMR's motion as truth; in table 11 the data sets' own), another size, frame rate and joint set. Table 4 is a
configuration and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

MOTION = ("MPJPE ↓", "PA-MPJPE ↓", "PVE ↓", "Accel ↓")
I2VM = (*MOTION, "FID ↓", "DIV ↑", "App. ↑", "Mot. ↑")
ACCEL_UNIT = "The unit of Accel is not printed: following WHAM it would be m/s² at an assumed 30 frames/s."


@dataclass(frozen=True)
class PaperTable:
    """A printed table.

    Attributes:
        number: in the paper.
        title: what it measures, on which data.
        columns: of the numbers.
        rows: (method, numbers as printed); "–" where nothing is printed.
        remark: what is known to be odd about it, or "".
    """

    number: int
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    remark: str = ""


def _rows(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Lines "method | number number …"."""
    split = [line.split("|") for line in text.strip().splitlines()]
    return tuple((name.strip(), tuple(numbers.split())) for name, numbers in split)


TABLES = (
    PaperTable(1, "Motion tokenizer, Human4DiT-Video", MOTION, _rows("""
        SOLAMI | 24.3354 14.7212 29.6462 7.7384
        UniMo  | 8.6344 5.3876 10.7010 2.4632
    """), ACCEL_UNIT),
    PaperTable(2, "Image to video and motion; consistency against GVHMR on the generated video", I2VM, _rows("""
        Cosmos | – – – – 57.3624 5.7160 0.8071 0.8126
        UniMo  | 41.3058 30.9548 47.3111 3.9984 27.3984 12.2522 0.8516 0.9441
    """), "One FID and one DIV are printed without saying of which features; their size speaks for the kinetic ones. "
          + ACCEL_UNIT),
    PaperTable(3, "Video to motion, Human4DiT-Video", MOTION, _rows("""
        4DHuman | 56.0701 35.4769 67.7157 15.7393
        UniMo   | 43.2689 28.1528 52.0143 4.5647
    """), "Table 10 prints the same rows with another Accel of 4DHuman, 10.7393: one of the two is a misprint. "
          + ACCEL_UNIT),
    PaperTable(5, "Motion tokenizer, tokens a frame (1/s) and codebook size B",
               (*MOTION, "parameters", "codebook use ↑"), _rows("""
        s=1/1, B=512   | 136.6638 81.7294 155.1556 6.4386 90.49M 80.08%
        s=1/8, B=512   | 69.1781 52.2387 97.2101 5.3642 95.31M 91.99%
        s=1/24, B=256  | 52.9926 45.4241 85.0266 4.5206 86.75M 97.66%
        s=1/24, B=512  | 10.4653 6.7306 12.7147 2.7336 101.63M 96.09%
        s=1/24, B=1024 | 47.4062 28.9208 53.6114 4.5009 121.51M 78.52%
        s=1/36, B=256  | 26.8738 13.3755 35.1941 3.1909 108.25M 99.61%
        s=1/36, B=512  | 8.6344 5.3876 10.7010 2.4632 123.13M 98.83%
        s=1/36, B=1024 | 30.8471 23.0493 44.2118 3.7807 138.01M 86.13%
        s=1/54, B=512  | 11.8932 7.7327 17.878 2.9688 155.71M 99.80%
    """), "Codebook use is the share of codes seen in 100 samples together: more tokens a frame see more codes. "
          "512 instead of 256 codes cost 14.88 M parameters, far more than the codes themselves."),
    PaperTable(6, "Motion tokenizer, forms of rotation", MOTION, _rows("""
        rotation matrix | 12.3837 6.2096 11.4083 2.5396
        axis-angle      | 13.4334 6.0989 16.2724 3.0279
        6D              | 8.6344 5.3876 10.7010 2.4632
    """), "The PVE of the rotation matrix is below its MPJPE, in no other row of the paper."),
    PaperTable(7, "Video to motion, Human4DiT-Video, ablations", MOTION, _rows("""
        only V2M          | 53.8356 45.9847 71.8492 6.1748
        unified embedding | 50.1287 41.3925 68.3533 5.1539
        UniMo             | 43.2689 28.1528 52.0143 4.5647
    """)),
    PaperTable(8, "Image to video and motion, ablations", I2VM, _rows("""
        only I2VM         | 56.78 46.11 68.03 5.9609 51.6599 7.3109 0.8220 0.8577
        unified embedding | 53.98 38.37 59.55 4.8837 40.7963 10.2315 0.8387 0.8926
        UniMo             | 41.30 30.95 47.31 3.9984 27.3984 12.2522 0.8516 0.9441
    """)),
    PaperTable(9, "Generated video, parts of VBench",
               ("subject ↑", "background ↑", "aesthetic ↑", "overall ↑", "smoothness ↑", "flickering ↑",
                "dynamic degree ↑", "overall ↑"), _rows("""
        Cosmos | 0.9535 0.9512 0.5166 0.8071 0.9951 0.9928 0.45 0.8126
        UniMo  | 0.9646 0.9621 0.6281 0.8516 0.9939 0.9884 0.85 0.9441
    """), "Each overall is the plain mean of the three numbers before it, without VBench's normalisation."),
    PaperTable(10, "Video to motion, Human4DiT-Video (supplement)", MOTION, _rows("""
        4DHuman | 56.0701 35.4769 67.7157 10.7393
        UniMo   | 43.2689 28.1528 52.0143 4.5647
    """), "Table 3 prints 15.7393 as the Accel of 4DHuman."),
    PaperTable(11, "Video to motion, 3DPW and RICH",
               tuple(f"{column} {data}" for column in MOTION for data in ("3DPW", "RICH")), _rows("""
        4DHuman | 76.33 65.22 64.05 55.25 82.57 112.37 5.458 8.963
        GVHMR   | 58.97 53.65 41.82 46.53 73.03 65.36 4.190 4.218
        UniMo   | 65.43 58.39 50.21 52.62 77.14 73.00 4.29 4.182
    """), "The rows of GVHMR and 4DHuman are not those that GVHMR's authors published for these data sets (RICH: "
          "GVHMR 66.0, 39.5 and 4.1, HMR2.0 96.0, 48.1 and 18.8 for MPJPE, PA-MPJPE and Accel): another subset or "
          "joint set."),
)  # fmt: skip
_BY_KIND = {"tokenizer": (1, 5, 6), "capture": (3, 10, 7, 11), "generate": (2, 8, 9)}


def paper_tables(kind: str) -> list[PaperTable]:
    """The tables about "tokenizer", "capture" or "generate", the main one first."""
    numbered = {table.number: table for table in TABLES}
    return [numbered[number] for number in _BY_KIND[kind]]
