-- The index of one WardRound contract and its Court. Hashes, roots and addresses are lower-case
-- hexadecimal with 0x, amounts decimal text in the token's smallest unit, times seconds since 1970.
-- Whatever comes from the chain hangs on its block: to remove blocks is to undo what they did.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Every block from the first indexed one to the tip; each one's parent is the one before.
CREATE TABLE block (
    number INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    parent TEXT NOT NULL,
    timestamp INTEGER NOT NULL
);

-- Transactions that emitted an event. The columns from `sender` on are filled in afterwards.
CREATE TABLE tx (
    id INTEGER PRIMARY KEY, -- block * 2^20 + position in it
    hash TEXT NOT NULL UNIQUE,
    block INTEGER NOT NULL REFERENCES block (number) ON DELETE CASCADE,
    sender TEXT,
    recipient TEXT,
    gas_used INTEGER,
    raw BLOB -- as it was signed, where the node gives it
);
CREATE INDEX tx_block ON tx (block);
CREATE INDEX tx_bare ON tx (id) WHERE sender IS NULL;
CREATE INDEX tx_sender ON tx (sender);

CREATE TABLE event (
    id INTEGER PRIMARY KEY, -- block * 2^20 + log_index: the order of the chain
    block INTEGER NOT NULL REFERENCES block (number) ON DELETE CASCADE,
    tx INTEGER NOT NULL REFERENCES tx (id) ON DELETE CASCADE,
    log_index INTEGER NOT NULL,
    contract TEXT NOT NULL, -- WardRound or Court
    name TEXT NOT NULL,
    study INTEGER REFERENCES study (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    round INTEGER,
    site TEXT,
    weight INTEGER, -- of Contributed and Registered
    root TEXT, -- of their update
    reference TEXT, -- a demand or tally, in events about one
    args TEXT NOT NULL, -- JSON, by the contract's names
    topics BLOB NOT NULL, -- 32 bytes each
    data BLOB NOT NULL
);
CREATE INDEX event_block ON event (block);
CREATE INDEX event_tx ON event (tx);
CREATE INDEX event_study ON event (study, round, name);
CREATE INDEX event_study_name ON event (study, name);
CREATE INDEX event_name ON event (name);
CREATE INDEX event_site ON event (site, name) WHERE site IS NOT NULL;
CREATE INDEX event_site_study ON event (site, study) WHERE site IS NOT NULL;
CREATE INDEX event_root ON event (root) WHERE root IS NOT NULL;
CREATE INDEX event_reference ON event (reference) WHERE reference IS NOT NULL;

-- Addresses in an event besides its site.
CREATE TABLE mention (
    address TEXT NOT NULL,
    event INTEGER NOT NULL REFERENCES event (id) ON DELETE CASCADE,
    PRIMARY KEY (address, event)
) WITHOUT ROWID;
CREATE INDEX mention_event ON mention (event);

-- A study as its events leave it.
CREATE TABLE study (
    id INTEGER PRIMARY KEY, -- of its StudyCreated
    study TEXT NOT NULL UNIQUE,
    sponsor TEXT NOT NULL,
    token TEXT NOT NULL,
    params TEXT NOT NULL, -- JSON: StudyParams
    coordinators TEXT NOT NULL, -- JSON: addresses in their order
    auditors TEXT NOT NULL,
    rounds INTEGER NOT NULL, -- as many as it will have now
    head INTEGER NOT NULL, -- the round being worked on; 0 before it opens
    coordinator TEXT, -- the active one
    opened_at INTEGER,
    final_through INTEGER NOT NULL, -- by attestations; time is for the reader
    hold_round INTEGER NOT NULL,
    hold_until INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    seats TEXT NOT NULL, -- JSON: by address bond, bonded, barred
    funded TEXT NOT NULL,
    paid TEXT NOT NULL,
    refunded TEXT NOT NULL,
    fees TEXT NOT NULL, -- to coordinators, for closing rounds
    deposits TEXT NOT NULL, -- of demands, tallies and commitments, as they were paid in
    collected TEXT NOT NULL, -- of what was owed to accounts
    bonds_posted TEXT NOT NULL,
    bonds_released TEXT NOT NULL,
    slashed TEXT NOT NULL, -- all of it, to challengers and burnt
    burnt TEXT NOT NULL,
    FOREIGN KEY (id) REFERENCES event (id) ON DELETE CASCADE
);
CREATE INDEX study_specification ON study (json_extract(params, '$.specification'));
CREATE INDEX study_initial_model ON study (json_extract(params, '$.initialModel'));
CREATE INDEX study_sponsor ON study (sponsor);
CREATE INDEX study_token ON study (token);

-- A site in a study. Counters are of rounds that stand.
CREATE TABLE member (
    study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    site TEXT NOT NULL,
    payout TEXT NOT NULL,
    max_weight INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER, -- the first round it is not a member of; empty while it is admitted
    contributions INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    paid TEXT NOT NULL,
    PRIMARY KEY (study, site)
) WITHOUT ROWID;
CREATE INDEX member_site ON member (site);
CREATE INDEX member_payout ON member (payout);

-- A round's closing. A round that was overturned has several; at most one of them is valid.
CREATE TABLE closing (
    id INTEGER PRIMARY KEY REFERENCES event (id) ON DELETE CASCADE, -- of its RoundClosed
    study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    round INTEGER NOT NULL,
    commitment TEXT NOT NULL,
    contributions TEXT NOT NULL,
    model TEXT NOT NULL,
    manifest TEXT NOT NULL,
    commitments TEXT NOT NULL,
    count INTEGER NOT NULL,
    total_weight INTEGER NOT NULL,
    coordinator TEXT NOT NULL,
    closed_at INTEGER NOT NULL,
    entries_tx INTEGER NOT NULL, -- that fixed its contributions: its own, or its lock's
    overturned INTEGER REFERENCES event (id) ON DELETE SET NULL -- the event that voided it
);
CREATE INDEX closing_study ON closing (study);
CREATE INDEX closing_round ON closing (study, round);
CREATE INDEX closing_overturned ON closing (overturned) WHERE overturned IS NOT NULL;
CREATE INDEX closing_commitment ON closing (commitment);
CREATE INDEX closing_contributions ON closing (contributions);
CREATE INDEX closing_model ON closing (model);
CREATE INDEX closing_manifest ON closing (manifest);
CREATE INDEX closing_commitments ON closing (commitments);

-- What the content store has under a closing's manifest digest, and what checking it gave.
-- status: verified, missing, altered, too_large, malformed, or contradicts (the record).
CREATE TABLE manifest (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- grows with every look, so that news of it is found
    closing INTEGER NOT NULL UNIQUE REFERENCES closing (id) ON DELETE CASCADE,
    cid TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    bytes INTEGER,
    document TEXT -- JSON, where it could be read
);
CREATE INDEX manifest_wanting ON manifest (status) WHERE status = 'missing';

-- One row a contribution that a verified manifest lists, with its signature as checked and its
-- report.
CREATE TABLE entry (
    closing INTEGER NOT NULL REFERENCES manifest (closing) ON DELETE CASCADE,
    site TEXT NOT NULL,
    weight INTEGER NOT NULL,
    update_root TEXT NOT NULL,
    update_cid TEXT NOT NULL,
    report TEXT NOT NULL,
    report_cid TEXT NOT NULL,
    signature TEXT NOT NULL,
    signature_valid INTEGER NOT NULL,
    report_status TEXT NOT NULL, -- as of manifests
    report_document TEXT, -- JSON
    share TEXT, -- of the round's reward; NULL where the scores that it is paid by are not to be had
    PRIMARY KEY (closing, site)
) WITHOUT ROWID;
CREATE INDEX entry_site ON entry (site);
CREATE INDEX entry_update_root ON entry (update_root);
CREATE INDEX entry_update_cid ON entry (update_cid);
CREATE INDEX entry_report ON entry (report);
CREATE INDEX entry_report_cid ON entry (report_cid);

-- What a site has earned by the entries above, of rounds that stand.
CREATE TABLE earned (
    study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,
    site TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (study, site)
) WITHOUT ROWID;

CREATE TABLE dropped (
    closing INTEGER NOT NULL REFERENCES manifest (closing) ON DELETE CASCADE,
    site TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL,
    PRIMARY KEY (closing, site)
) WITHOUT ROWID;
CREATE INDEX dropped_site ON dropped (site);

CREATE TABLE specification (
    study INTEGER PRIMARY KEY REFERENCES study (id) ON DELETE CASCADE,
    cid TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    document TEXT
);

-- A round in a run folder: measured on the sites' test rows, not on chain.
CREATE TABLE statement (
    study TEXT NOT NULL,
    round INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (study, round)
) WITHOUT ROWID;

-- Decimals of a token that studies pay in; the token was asked once.
CREATE TABLE token (
    address TEXT PRIMARY KEY,
    decimals INTEGER NOT NULL
) WITHOUT ROWID;

-- Names that a run folder gives to addresses.
CREATE TABLE label (
    address TEXT PRIMARY KEY,
    name TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE reorganisation (
    id INTEGER PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    ancestor INTEGER NOT NULL, -- the last block that both chains have
    old_tip INTEGER NOT NULL,
    old_hash TEXT NOT NULL,
    events_removed INTEGER NOT NULL
);
