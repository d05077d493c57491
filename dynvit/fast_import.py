"""timm, and with it torch, imported without garbage collections: the million objects that this makes stay, and to
search them again and again took an eighth of the time in which a trial starts."""

import gc

_collects = gc.isenabled()
gc.disable()
try:
    import timm as timm
finally:
    if not gc.get_freeze_count():  # to the oldest objects, or the next small collection would search them all
        gc.freeze()
        gc.unfreeze()
    if _collects:
        gc.enable()
