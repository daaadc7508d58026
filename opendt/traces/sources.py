"""Public traces that can be fetched: where they are, at which commit, and what their files must be."""

from __future__ import annotations

from dataclasses import dataclass

from opendt.errors import InputError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: its SHA-256 as hexadecimal text and its size [B]."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Source:
    """A trace in a public repository at a pinned commit.

    Attributes:
        name: the name to fetch it by.
        title: what it is, for people.
        repository: owner and name.
        commit: full commit hash.
        folder: folder inside the repository.
        files: file name to what it must be.
    """

    name: str
    title: str
    repository: str
    commit: str
    folder: str
    files: dict[str, SourceFile]

    def url(self, base_url: str, file: str) -> str:
        """Address of a file below a server that lays files out as GitHub's raw server does."""
        return f"{base_url.rstrip('/')}/{self.repository}/{self.commit}/{self.folder}/{file}"


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "surf",
            "One week of the SURF (Dutch national supercomputing) Lisa cluster with measured power, October 2022",
            "atlarge-research/opendt",
            "ef5a6204cea4833fc552afc6eee67186b16298f5",
            "workload/SURF",
            {
                "tasks.parquet": SourceFile(
                    "3a32322cf982f7edaecce3be13be709f96c70c57d769cddd402589ceb3bb0fcd", 115_791
                ),
                "fragments.parquet": SourceFile(
                    "48d8d02bf88e4e401485d487966f70d4a19975ee56aae115d3ea807530abd122", 1_647_901
                ),
                "consumption.parquet": SourceFile(
                    "8a60b0b7a5c336c5ffb1a813838dc52288f35822e7ab16ec47c11a23b9399d92", 1_258_005
                ),
                "carbon.parquet": SourceFile(
                    "fbb17d15a77777d84c6afd81cd732ddae999f51a22ebb17705bd14bfaa650a76", 633_218
                ),
                "topology.json": SourceFile("ec00f06e3da796cb521d9106257683c912ff51e454c44dcf93d541b38474fa04", 843),
            },
        ),
        Source(
            "bitbrains-small",
            "50 virtual machines of the Bitbrains trace, one month of 2013, without power",
            "atlarge-research/opendc-traces",
            "d46b15c4e2b9a99a950074f6fcbe976e5041f44f",
            "workload/traces/v4/bitbrains-small",
            {
                "tasks.parquet": SourceFile("f0b03b4719b1903b612c355a0ba13b5cb1b998e492231fbf20e4f9b589bb464e", 5_110),
                "fragments.parquet": SourceFile(
                    "46a614c4f794cb65e4339b5d6d53bc8a02e1f65d1a80f7dab926c66afb20265c", 716_007
                ),
            },
        ),
    )
}


def find_source(name: str) -> Source:
    """The source of that name; raises ``InputError`` that lists the names there are."""
    if name not in SOURCES:
        raise InputError(f"no public trace is called {name!r}. There are: {', '.join(sorted(SOURCES))}.", name=name)
    return SOURCES[name]
