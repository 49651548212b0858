"""The contract as other programs read it: AsyncAPI 3.1, JSON Schemas and a page, from the types.

``python -m contract`` writes docs/contract/. It reads schemas/ alone: what it says of a message is
what the code says. How the scoring bodies look, which the agent reads by hand, is in bodies.py.
"""

# Of the contract, not of the product: fields are added (1.1), none is changed (2.0).
VERSION = "1.0.0"
