"""The front door: uploads, status, the timeline, receipts; everything else passes through."""
