"""The only code that writes a campaign: its loops, recovery, confirmation, warm start; and the doctor."""
