"""Whether a clause denies what a rule found in it: 不治痛经 and 没有生发作用 do, 不伤肤三天祛斑 and 不根治不收费 do not.

Only light words may stand between the negation and the find, so that what is denied is the find and nothing else.
"""

import re
from collections.abc import Collection

_FOUND = "\0"
_NEGATION = (
    "不|没有?|并?无|别(?:再信|信|听|指望|想|把|乱吃)?|[勿莫](?:再信|信)?|拒绝(?:虚假|所谓)?|绝非|并非|所谓|谨防|警惕|小心|防范"
    "|(?:凡是|任何)(?=.{0,4}(?:说|称|宣|承诺|吹|保证))"
)
_LIGHT = (
    "能够?|会|是|可以?|敢|要|再|跟您|和您|向您|对您|说|称|讲|提|吹|做|作|承诺|许诺|保证|提供|宣称|声称|自称|号称|宣传|信|听|指望|它|您|你|想|求|追求"
    "|具有?|具备|含有?|存在|任何|什么|所谓|食品|产品|普通|投资|东西|的|这|靠|教|包|一定|等于|代表|代替|替代|涉及|要求|以|用来|用于|快速"
    f'|治疗?|医治|预防|防|降|减|祛|消|改善|缓解|[“”"《》]|{_FOUND}'
)
_DENIED = re.compile(f"(?:{_NEGATION})(?:{_LIGHT}){{0,6}}$")
_TAKEN_BACK = re.compile(
    "谁说|别再说|不是说|谁不|没有?(?:人|谁)?不|会不|只敢|只有|而是|不收|不要钱|分文|退|赔|回购|免单|都不行|才怪|找我|是我们|算我|算我们"
)


def denied(clause: str, at: Collection[int], found: Collection[int]) -> bool:
    """Whether a find is denied, or warned of, by words before it, and nothing else in the clause takes that back.

    Args:
        clause: as it reads.
        at: the places in it that the find covers.
        found: the places that any find covers.
    """
    marked = "".join(_FOUND if place in found else sign for place, sign in enumerate(clause))
    return _DENIED.search(marked, 0, min(at)) is not None and _TAKEN_BACK.search(marked) is None
