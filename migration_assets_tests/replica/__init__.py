"""Whether the account becomes the legacy source's equal, whatever the source does meanwhile.

clinic      the legacy system's own rows: transactions, ties, deletions, merges, a virtual clock
shapes      what its API may be like, and the description a person would write of it
server      that API, behind the transport's seam
account     a manifest and the real pipeline, which may be cut off anywhere
law         what the account owes the source
"""
