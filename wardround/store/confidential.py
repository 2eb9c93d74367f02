"""A store whose updates and models are encrypted at rest, for readers that the chain names.

To its user it is a store like any other: objects have the CIDs of their content, so commitments
and audits are the same. What is public stays so: specification, manifests, reports. Everything
else is sealed with the key of the study's current epoch (`wardround.store.sealing`), which is
wrapped for each account that the sponsor has granted (`wardround.store.key_ring`, Grants.sol). A
revocation begins an epoch: what is written from then on has another key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from eth_account.signers.local import LocalAccount

from wardround.chain.grants import Grantee, Grants
from wardround.chain.ward_round import WardRound
from wardround.protocol.cid import Cid, cid_of
from wardround.protocol.errors import Malformed, SignatureInvalid
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.store.base import MAX_OBJECT_BYTES, Store
from wardround.store.errors import (
    ObjectAltered,
    ObjectMissing,
    ObjectSealed,
    ObjectTooLarge,
    no_key_to,
    not_granted,
)
from wardround.store.key_ring import KeyRing, make_ring, read_ring
from wardround.store.reading_key import ReadingKey
from wardround.store.sealing import KEY_BYTES, SealedHeader, name_of_key, read_header, seal, unseal
from wardround.store.vault import Vault, is_document


class ConfidentialStore(Store):
    """The objects of one study.

    Args:
        vault: where they are kept.
        ward: the contract that knows the study, its sponsor and coordinators.
        grants: who may read.
        study: the study.
        reading: a reader's key; None to read what is public.
        signer: the sponsor or a coordinator, who may write; None to read only.
    """

    def __init__(
        self,
        vault: Vault,
        ward: WardRound,
        grants: Grants,
        study: StudyId,
        reading: ReadingKey | None = None,
        signer: LocalAccount | None = None,
    ) -> None:
        self.vault = vault
        self.grants = grants
        self.study = study
        self._ward = ward
        self._reading = reading
        self._signer = signer
        #: Keys of epochs by name, from any source: only for reading.
        self._keys: dict[bytes, bytes] = {}
        #: Names of those that were made here, by epoch.
        self._made: dict[int, bytes] = {}

    def put(self, data: bytes | memoryview) -> Cid:
        """Keep an object, sealed unless it is public. See `Store.put`.

        Raises:
            ObjectSealed: this account may not write, for it could not read it again.
        """
        view = memoryview(data).cast("B")
        if is_document(view):
            return self.vault.keep_document(view)
        cid = cid_of(view)
        epoch, key = self.sync()
        try:
            self.map(cid)
        except (ObjectMissing, ObjectAltered, ObjectSealed):
            self.vault.keep_sealed(self.study, cid, seal(view, cid, self.study, epoch, key))
        return cid

    def put_public(self, data: bytes | memoryview) -> Cid:
        """Keep an object in the clear: a study's own file, which a site reads before it joins."""
        return self.vault.keep_document(memoryview(data).cast("B"))

    def get(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Read an object, decrypted. See `Store.get`.

        Raises:
            ObjectSealed: it is encrypted, and there is no key to it.
        """
        return bytes(self.map(cid, max_bytes))

    def map(self, cid: str, max_bytes: int = MAX_OBJECT_BYTES) -> memoryview:
        """Read an object, decrypted into memory of this process alone. See `Store.map`.

        Raises:
            ObjectSealed: it is encrypted, and there is no key to it.
        """
        try:
            return self.vault.document(cid, max_bytes)
        except ObjectMissing:
            data = self.vault.sealed(self.study, cid)
        try:
            header = read_header(data)
            if (header.study, header.cid) != (self.study, cid):
                raise Malformed("sealed object", "it is another one")
            if header.size > max_bytes:
                raise ObjectTooLarge(cid, header.size, max_bytes)
            content = unseal(data, self._key_of(header))
        except Malformed as error:
            raise ObjectAltered(cid, "no content", "the sealed objects") from error
        found = cid_of(content)
        if found != cid:
            raise ObjectAltered(cid, found, "the sealed objects")
        return content

    def has(self, cid: str) -> bool:
        """Whether an object of this CID is here, readable or not. See `Store.has`."""
        try:
            self.vault.document(cid, MAX_OBJECT_BYTES)
        except ObjectMissing:
            try:
                self.vault.sealed(self.study, cid)
            except ObjectMissing:
                return False
        return True

    def cids(self) -> Iterator[Cid]:
        """Name every object by its content. See `Store.cids`."""
        return self.vault.cids(self.study)

    def sync(self) -> tuple[int, bytes]:
        """Give every reader every key that is here, and find the one for what is written now.

        Returns:
            The epoch and its key, 32 bytes.

        Raises:
            ObjectSealed: this account may not read, or may not write.
        """
        if self._signer is None or self._reading is None:
            account = "this process" if self._signer is None else self._signer.address
            raise not_granted(account, hex_of(self.study))
        # In this order, a reader who is revoked in between gets no key of the new epoch.
        epoch = self.grants.epoch(self.study)
        readers = self.grants.readers(self.study)
        own = (self._signer.address, self._reading.public)
        # Who could not read it again would lose it with this process.
        granted = [(reader.account, reader.public_key) for reader in readers]
        sponsor, coordinators = self._writers()
        if own not in granted or own[0] not in (sponsor, *coordinators):
            raise not_granted(own[0], hex_of(self.study))
        rings = self._rings()
        # A coordinator who was revoked must not choose the key of what he shall not read.
        signers = {sponsor, *(account for account, _ in granted)}
        trusted = [ring for ring in rings if ring.signer in signers]
        current = [r.key_name for r in trusted if r.epoch == epoch and r.key_name in self._keys]
        if not current:
            if epoch not in self._made:
                key = os.urandom(KEY_BYTES)
                self._made[epoch] = name_of_key(key)
                self._keys[self._made[epoch]] = key
            current = [self._made[epoch]]
        # All known keys of earlier epochs, and this epoch's own. None of later epochs: with this
        # account's signature under it a stranger's key would be trusted.
        known = {(r.epoch, r.key_name) for r in rings if r.epoch < epoch}
        for key_epoch, name in sorted(known | {(epoch, name) for name in current}):
            if name in self._keys:
                self._give(key_epoch, self._keys[name], readers, trusted)
        return epoch, self._keys[current[0]]

    def close(self) -> None:
        self.vault.close()

    # ---------------------------------------------------------------- inside

    def _key_of(self, header: SealedHeader) -> bytes:
        if header.key_name not in self._keys and self._reading is not None:
            self._rings()
        if header.key_name not in self._keys:
            raise no_key_to(header.cid, header.epoch)
        return self._keys[header.key_name]

    def _writers(self) -> tuple[str, Sequence[str]]:
        """The sponsor and the coordinators."""
        state = self._ward.study(self.study)
        return state.sponsor, state.coordinators

    def _rings(self) -> list[KeyRing]:
        """Read the rings of those who ever could write, and open what is for this reader."""
        found: list[KeyRing] = []
        sponsor, coordinators = self._writers()
        for data in self.vault.rings(self.study):
            try:
                ring = read_ring(data, self.grants.domain)
                if ring.study != self.study or ring.signer not in (sponsor, *coordinators):
                    continue
                key = None if self._reading is None else ring.open(self._reading)
            except (Malformed, SignatureInvalid):
                # Any account may put a ring there: without a valid signature it is skipped.
                continue
            found.append(ring)
            if key is not None:
                self._keys[ring.key_name] = key
        return found

    def _give(self, epoch: int, key: bytes, readers: list[Grantee], rings: list[KeyRing]) -> None:
        name = name_of_key(key)
        have = {one for ring in rings if ring.key_name == name for one in ring.wrapped}
        lacking = [r for r in readers if (r.account.lower(), r.public_key) not in have]
        if lacking:
            assert self._signer is not None
            ring = make_ring(self.study, epoch, key, lacking, self._signer, self.grants.domain)
            self.vault.keep_ring(self.study, ring)
