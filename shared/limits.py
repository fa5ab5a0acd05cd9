"""Every bound of the system, with its reason. What users may tune is in `config.Limits`."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

# A producer's or node's name fits the record header, so that a record needs no lookup to be read.
MAX_NAME_BYTES: Final = 16

# Payload of one record. Bounds what a reader must buffer before it can check a hash.
MAX_PAYLOAD_BYTES: Final = 1 * MIB

# Messages of one record: keeps the time to validate one submission well below a millisecond.
MAX_RECORD_MESSAGES: Final = 4096

# One frame on any socket (libzmq's MAXMSGSIZE): a group of records plus its envelope.
MAX_FRAME_BYTES: Final = 8 * MIB

# One submission on the intake: a record's payload and its envelope.
MAX_SUBMISSION_BYTES: Final = MAX_PAYLOAD_BYTES + KIB

# Frames of control, telemetry and hello messages: small by nature, refused early when not.
MAX_SMALL_FRAME_BYTES: Final = 256 * KIB

# Records that one producer may have unconfirmed. The producer table remembers as many runs, so
# any record that can still be submitted again is answered with the seq that it already has.
MAX_PRODUCER_RECORDS: Final = 256

# Producers in the table, and so in every checkpoint: 1,000 expected, with head-room.
MAX_PRODUCERS: Final = 10_000

# Bytes on their way to the standby and not acknowledged; beyond it catching up waits for acks.
LINK_WINDOW_BYTES: Final = 16 * MIB

# The same for a standby that is behind, and what is read for it in one turn: enough to keep it at
# work, and no more, as live messages wait for each turn.
CATCH_UP_WINDOW_BYTES: Final = 2 * MIB
CATCH_UP_BYTES: Final = MIB // 4

# One group of records on the link, one chunk of a replay.
CHUNK_BYTES: Final = 1 * MIB

# What one more message of a socket can bring at most into a turn: a chunk, or one record of full
# size. A turn ends before the journal's room is less than this.
TURN_HEADROOM_BYTES: Final = MAX_PAYLOAD_BYTES + KIB

# Submissions taken from the intake socket in one turn, and replay requests served in one turn:
# a burst of either must not keep the acks of the standby waiting.
INTAKE_PER_TURN: Final = 64
REPLAY_PER_TURN: Final = 4

# While there is other work, replay pauses this many times as long as it took: a quarter of the time
# is enough for hundreds of megabytes a second.
REPLAY_PAUSE: Final = 3

# Characters of a text on the wire: enough for a clear sentence that quotes a name or two.
MAX_TEXT_CHARS: Final = 1_000

# A subscription that a publishing socket takes. Ours are empty; libzmq holds one in a tree of about
# 100 bytes of memory per byte, so a single one of MAX_FRAME_BYTES would cost a node 800 MiB.
MAX_SUBSCRIPTION_BYTES: Final = 4 * KIB

# Distance of two entries of a segment's sparse index: what a seek may have to walk.
INDEX_EVERY_BYTES: Final = 16 * KIB

# Epoch entries that travel in a hello. Older history is compared by hash alone.
MAX_EPOCHS_IN_HELLO: Final = 1024

# Receipts that a node keeps until it sees them in the log: one operation at a time, so few.
MAX_RECEIPTS: Final = 16

# Ids of the newest operations that a log state remembers, so that a receipt is logged once.
MAX_OPERATIONS_KNOWN: Final = 64

# Preflights whose tokens a node remembers; the oldest gives way.
MAX_TOKENS: Final = 64

# Operators who approve one token, and checks of one receipt: a receipt is a record, and records are
# bounded.
MAX_APPROVERS: Final = 4
MAX_CHECKS: Final = 16

# How long a token can be used: long enough to read a preflight, too short to come back to it.
TOKEN_SECONDS: Final = 30

# Operations whose outcome a running node can still tell.
MAX_OUTCOMES: Final = 64

# Frames that the feed queues for one subscriber before it drops for it: a subscriber that stopped
# reading costs the primary this many frames, and has to replay what it missed.
FEED_HWM_FRAMES: Final = 1_000

# Frames that a socket may queue per peer before it blocks, drops or refuses (ZeroMQ's HWM).
HWM_FRAMES: Final = 10_000

# Answers that wait for one consumer on the replay socket, each up to CHUNK_BYTES. A consumer asks
# for one chunk at a time; who asks for more and does not read is dropped from, not remembered.
REPLAY_HWM_FRAMES: Final = 8

# Bodies that one producer may hold unconfirmed: its window counts messages, memory counts bytes.
PRODUCER_WINDOW_BYTES: Final = 64 * MIB

# Live records that a consumer keeps while it replays what is before them: half a second of a
# full feed, so that a replay that is faster than the feed meets them.
CONSUMER_LIVE_BYTES: Final = 16 * MIB

# Records whose hashes a consumer remembers, to tell a repeated record from another history.
CONSUMER_RECENT_RECORDS: Final = 4096

# Frames of the feed that wait in a consumer's socket. Frames grow under load (up to CHUNK_BYTES),
# so HWM_FRAMES would be gigabytes; what is dropped beyond the bound is replayed.
CONSUMER_HWM_FRAMES: Final = 1_000

# Sentences about changed keys that one answer and one receipt of a reload hold: a receipt is a
# record. Further ones are counted.
MAX_KEY_CHANGES: Final = 64

# Bad frames of one peer within BAD_SECONDS before nothing is taken from it for BAN_SECONDS: a
# client with a bug sends a few, and the reason is told each time.
MAX_BAD_FRAMES: Final = 100
BAD_SECONDS: Final = 10
BAN_SECONDS: Final = 10
MAX_BAN_SECONDS: Final = 3_600  # a ban lasts twice as long each time, up to this

# Frames within a second of peers that are banned or not allowed any more, before a door drops all
# its connections to be rid of them: the others come back at once, those are not let in again. Each
# such frame costs its receiving only, so it takes a flood to do harm.
MAX_UNWELCOME_FRAMES: Final = 1_000

# Peers whose bad frames are counted, and keys whose denial was noted lately.
MAX_MISBEHAVING: Final = 1_024

# Connections of a bound socket; at more, all are dropped, and who has a use for one connects again.
# Fewer if the process may not open so many descriptors. 1,000 producers are expected.
MAX_CONNECTIONS: Final = 10_000

# Descriptors that are kept for all but connections: the journal's files, sockets of our own, and a
# crowd that comes between two looks.
RESERVED_DESCRIPTORS: Final = 2_048
FEW_DESCRIPTORS: Final = 8_192

# Requests of the authentication handler, and events of connections, that are looked at in a turn:
# a storm of handshakes must not hold up the acks of the standby.
HANDSHAKES_PER_TURN: Final = 16
CONNECTION_EVENTS_PER_TURN: Final = 256
