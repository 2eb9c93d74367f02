"""What a contract's refusals mean to the person whose command was refused, by the error's name.

An error that is not here is one that a program meets, not a person: proofs and closings that are
built by this library, or arguments that it checks before it sends.
"""

from __future__ import annotations

REASONS = {
    "ERC20InsufficientAllowance": "the account has not approved so many tokens",
    "ERC20InsufficientBalance": "the account holds fewer tokens than that",
    "WardRound_AlreadyBonded": "the bond is posted already",
    "WardRound_AlreadyFinal": "the round is final already",
    "WardRound_AlreadyPaid": "a round of these was paid to the site meanwhile: claim again",
    "WardRound_AlreadyRegistered": "the site has registered another contribution to this round",
    "WardRound_AttestationInvalid": "the auditor has signed something else, or not signed",
    "WardRound_AuditorInvalid": "auditors are different accounts, and none is the zero address",
    "WardRound_Barred": "this coordinator was slashed and may not act again",
    "WardRound_CourtDiffers": "another transaction of this account came between the deployments of "
    "the court and of WardRound: deploy again",
    "WardRound_CapsTooHigh": "the weights of all sites, removed ones too, add up to 2**31 or more",
    "WardRound_CommitmentDiffers": "the chain has closed the round otherwise: read it again",
    "WardRound_CoordinatorInvalid": "coordinators are different accounts, and not too many",
    "WardRound_NotAuditor": "the study does not name this account as an auditor",
    "WardRound_NotBonded": "this coordinator has no bond posted: use `wardround coordinator bond`",
    "WardRound_NotCoordinator": "this account is not the study's active coordinator",
    "WardRound_NotFinal": "the round is not final yet: it has to be closed, and its challenge "
    "window and the time for what is demanded of it have to be over",
    "WardRound_NotMember": "the site is not admitted to this round",
    "WardRound_NotPayout": "only the site's payout address may do this, or an account with its "
    "signature of the next change, of a site that is admitted",
    "WardRound_NotSponsor": "only the study's sponsor may do this: use the sponsor's key",
    "WardRound_NothingDue": "nothing is due",
    "WardRound_ParameterInvalid": "the study's file has a value that the contract does not take",
    "WardRound_PartiesDiffer": "these are not the coordinators and auditors that the study names",
    "WardRound_RegistrationOpen": "sites can still register: wait, or include all of them",
    "WardRound_RegistrationOver": "the round takes no more registrations",
    "WardRound_RoundNotOpen": "another round is open: read the chain again",
    "WardRound_SignatureInvalid": "the site's key did not sign this contribution",
    "WardRound_SiteExists": "the site was admitted before with other terms, or was removed",
    "WardRound_SiteInvalid": "a site needs an address, a payout address and a weight above 0",
    "WardRound_SiteUnknown": "the site was never admitted, or is removed already",
    "WardRound_StudyAlreadyOpen": "the study was opened already, or ended",
    "WardRound_StudyExists": "the study exists already",
    "WardRound_StudyNotOpen": "the study is not open yet: its sponsor opens it",
    "WardRound_StudyOver": "the study is over",
    "WardRound_StudyUnknown": "this contract has no such study: check its id and the contract",
    "WardRound_TooEarly": "it is too early: wait until the time named",
    "WardRound_TooFewSites": "fewer sites are admitted than the study needs",
    "WardRound_TransferInexact": "the token moves another amount than asked: use a plain ERC-20",
    "WardRound_Underfunded": "rewards and fees are not all paid in: use `wardround study fund`",
    "WardRound_WeightOutOfRange": "the weight is above what the site is admitted with",
    "Court_AlreadyDemanded": "this was demanded before",
    "Court_DemandsDisabled": "no proof takes this; of a lock only "
    "entries and updates are demanded",
    "Court_NotChallengeable": "the round is final, open again, or closed otherwise",
    "Court_NotCoordinator": "this account is not the study's active coordinator",
    "Court_NotDemanded": "no such demand is open",
    "Court_NotRegistered": "the site has registered nothing for this round",
    "Court_NotOverturned": "what was revealed does not overturn the round",
    "Court_TooManyChunks": "so many chunks may be demanded only once more of them were shown",
    "Court_ChunkUnexpected": "chunks of a registered update are demanded and shown in their order",
    "Court_NothingDue": "nothing is due for the registration, or not yet",
    "Court_RegistrationVoid": "the registration is void",
    "Court_TallyChanged": "the tally was extended after the commitment to finish it: commit again",
    "Court_TooEarly": "it is too early: the deadline has not passed",
    "Court_TooLate": "it is too late: the deadline has passed",
    "Grants_AlreadyGranted": "the account has a grant with another key: revoke that first",
    "Grants_NoKey": "the reader's public key is missing",
    "Grants_NoReader": "the reader's address is missing",
    "Grants_NotGranted": "the account has no grant",
    "Grants_NotSponsor": "only the study's sponsor may do this: use the sponsor's key",
}
