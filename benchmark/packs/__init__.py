"""A submission: what somebody claims of a model, with all that is needed to check it.

::

    card.json                    who, on what data, selected how, the claims; every file's hash
    runs/<run_id>/...            the records: config.yaml env.json predictions.npz metrics.json,
                                 history.csv of what was trained here; where they were wanted
                                 checkpoint.safetensors and inputs.json

as a zip or as a folder. :mod:`benchmark.packs.making` makes one, :mod:`benchmark.packs.opening`
opens one that anybody may have made, :mod:`benchmark.packs.verify` says what of it stands.
"""
