"""Human preference, as the paper's supplement describes it (section B.2).

    clips -> segments -> material (videos of each pair) -> plan (who is asked what) -> page;  study.json is the key
    answers of people, study.json -> answers -> preference -> table

Two commands: ``python -m training.evaluate.study make`` and ``... read``. The page knows neither which video is whose
nor who is asked what beyond numbers; the key stays with whoever asks.
"""
