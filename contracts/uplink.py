"""The end-to-end acknowledgement's metric names (design, section 4), beside plain Sparkplug.

A batch is (gateway, epoch, batch): what an agent committed to its spool in one piece and sends in one DDATA.
A third-party edge node sends none of these metrics and still works, best effort.
"""

from __future__ import annotations

from typing import Final, NamedTuple

EPOCH: Final = "Uplink/Epoch"
"""UInt64, in NBIRTH and in each DDATA: greater at each start of the agent, and whenever it had to begin another spool
file. A batch that was spooled under an earlier epoch keeps it."""
BATCH: Final = "Uplink/Batch"
"""UInt64, in each DDATA: +1 with each batch of the epoch, over all buses of the gateway."""
THINNED: Final = "Uplink/ThinnedReadings"
"""UInt64. In a DDATA: so many readings of this batch were taken out before it was sent, because the gateway's disk was
full (the first, last, lowest and highest of each channel and window stay, and all that is not good). In NBIRTH and
NDATA: all of them so far."""
DISCARDED: Final = "Uplink/DiscardedReadings"
"""UInt64, in NBIRTH and NDATA: readings that are nowhere any more, dropped from a full spool or from memory."""
FAILED_COMMITS: Final = "Uplink/FailedCommits"
"""UInt64, in NBIRTH and NDATA: commits to the spool that failed, since the agent was started."""
DISCARDED_SAMPLES: Final = "Uplink/DiscardedSamples"
"""UInt64, in NBIRTH and NDATA: samples of waveforms that were dropped for want of room, all of them so far."""
SPOOLS_SET_ASIDE: Final = "Uplink/SpoolsSetAside"
"""UInt64, in NBIRTH and NDATA: spool files that could not be trusted, since the agent was started."""
ACK_EPOCH: Final = "Uplink/AckEpoch"
"""UInt64, in NCMD: the epoch that the acknowledgement beside it is about."""
ACK_RANGES: Final = "Uplink/AckRanges"
"""UInt64Array from,to,…, in NCMD: durably stored batches; the agent deletes them."""
RESEND_EPOCH: Final = "Uplink/ResendEpoch"
"""UInt64, in NCMD: the epoch that the request beside it is about."""
RESEND_RANGES: Final = "Uplink/ResendRanges"
"""UInt64Array from,to,…, in NCMD: batches that the host misses."""
LOST_EPOCH: Final = "Uplink/LostEpoch"
"""UInt64, in NDATA: answers a request for batches that the spool does not hold any more."""
LOST_RANGES: Final = "Uplink/LostRanges"
"""UInt64Array from,to,…, in NDATA: batches that are gone for good."""


class BatchIdentity(NamedTuple):
    """What makes a batch the same batch, however often it arrives."""

    gateway_id: str
    epoch: int
    batch: int
