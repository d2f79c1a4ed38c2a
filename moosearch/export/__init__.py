"""Exports: a trained candidate as files that deploy, and what such files say of an image.

Writing one needs torch (`moosearch.export.write`), predicting with one does not.
"""

from moosearch.export.predict import Exported, Predictions, load_export

__all__ = ["Exported", "Predictions", "load_export"]
