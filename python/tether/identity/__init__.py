"""Who a node is, who said so, and what it may do.

A network has a root document; its root key allows issuers; an issuer signs credentials; a node signs with the key that
its credential names. Source: docs/design/overlay.md §1; the chain follows the shape of TUF's root role.
"""

from tether.identity.identity import Identity
from tether.identity.matrix import CLIENT_METHODS, ROLE_MATRIX, allowed_roles
from tether.identity.name import node_id, node_key
from tether.identity.role import Role
from tether.identity.trust import Trust
from tether.identity.verified import Verified

__all__ = [
    "CLIENT_METHODS",
    "ROLE_MATRIX",
    "Identity",
    "Role",
    "Trust",
    "Verified",
    "allowed_roles",
    "node_id",
    "node_key",
]
