"""Model cards: in a model's artifact, and kept beside the registered model: a part of Aws (aws.py)."""

from __future__ import annotations

from mlplatform import names
from mlplatform.aws_calls import Calls
from mlplatform.decisions import CardPage
from mlplatform.facts import ModelCard, UnreadableCard
from mlplatform.model_card import FILES, REPORT_FILE, parse_card

_CARD_FILE_BYTES = 8 * 1024 * 1024
_REPORT_BYTES = 1024 * 1024


class CardCalls(Calls):
    """Mixed into Aws."""

    # ---- facts ----

    def artifact_card(self, uri: str) -> ModelCard | UnreadableCard:
        """Its card's files from a model.tar.gz: streamed, bounded, and never put on a disk."""
        import tarfile  # brings three decompressors with it, which most functions never need

        bucket, _, key = uri.removeprefix("s3://").partition("/")
        answer = self._found("s3", "get_object", Bucket=bucket, Key=key)
        if answer is None:
            return UnreadableCard(f"there is nothing at {uri}")
        files: dict[str, bytes] = {}
        try:
            with tarfile.open(fileobj=answer["Body"], mode="r|gz") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if name not in {*FILES, REPORT_FILE} or not member.isfile():
                        continue
                    if name == REPORT_FILE and member.size > _REPORT_BYTES:
                        continue  # a picture too large to draw is no reason to lose a model
                    if member.size > _CARD_FILE_BYTES:
                        return UnreadableCard(f"its {name} has {member.size} bytes, more than {_CARD_FILE_BYTES}")
                    content = archive.extractfile(member)
                    files[name] = content.read() if content else b""
                    if len(files) == len(FILES) + 1:
                        break
        except (tarfile.TarError, EOFError, OSError) as error:
            return UnreadableCard(f"{uri} is not a readable archive ({error})")
        finally:
            answer["Body"].close()
        return parse_card(files)

    def stored_card(self, dataset: str, job: str) -> ModelCard | None:
        """What was kept beside the registered model; None where it is not there or not readable."""
        bucket, files = self._settings.artifact_bucket, {}
        for name in FILES:
            key = names.model_card_prefix(dataset, job) + name
            if self._object_exists(bucket, key):
                files[name] = self._call("s3", "get_object", Bucket=bucket, Key=key)["Body"].read()
        card = parse_card(files)
        return card if isinstance(card, ModelCard) else None

    # ---- decisions ----

    def _put_card(self, dataset: str, model: str, card: ModelCard) -> None:
        prefix, bucket = names.model_card_prefix(dataset, model), self._settings.artifact_bucket
        self._put(bucket, f"{prefix}metrics.json", card.metrics_json)
        self._put(bucket, f"{prefix}sample.json", card.sample_json)

    def _put_page(self, page: CardPage | None) -> None:
        if page is not None:
            self._put(self._settings.artifact_bucket, page.key, page.html.encode(), "text/html; charset=utf-8")
