"""What tokens cost: a version of a model's price, in whole micros so that sums never drift.

The cost of a job is that of its whole position, rounded up once; each settlement pays what lies beyond the cost paid
before, so that an answer made by several attempts costs exactly what one would have.
Source: docs/design/design.md §5; proto/tether/v1/policy.proto, Price.
"""

from dataclasses import dataclass

from tether.job.hold import Position

_PER_TOKENS = 1_000  # prices are per thousand tokens


@dataclass(frozen=True, slots=True)
class Price:
    """What a model's tokens cost; all 0 for a model without a price.

    Attributes:
        version: number of this price, from 1; 0 for none.
        input_micros: a thousand tokens of input, millionths of the network's unit of account.
        output_micros: a thousand tokens of output, the same.
    """

    version: int = 0
    input_micros: int = 0
    output_micros: int = 0


FREE = Price()


def cost(price: Price, position: Position) -> int:
    """Cost of all that lies before a position, micros, rounded up."""
    if price.version == 0:
        return 0
    thousandths = position.input_tokens * price.input_micros + position.output_tokens * price.output_micros
    return -(-thousandths // _PER_TOKENS)


def most(price: Price, tokens: int) -> int:
    """The most that so many tokens can cost, micros: whichever of input and output is dearer."""
    if price.version == 0:
        return 0
    return -(-tokens * max(price.input_micros, price.output_micros) // _PER_TOKENS)
