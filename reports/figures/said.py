"""What the captions of the figures say."""

from reports import captions

GLANCE = (
    "Left: each system on clean input and as the mean over 64 conditions of noise and missing "
    "modalities, the means over seeds; systems that differ by less than their intervals may well "
    "change places. Right: the landscapes of the system that is best on clean input and of the one "
    "that is best on the mean; where one is both, of the one that loses most."
)
LANDSCAPE = (
    "Mean over seeds at noise intensity λ and missing rate η. Along η the values are exact at "
    "every rate (the expectation over what is missing); along λ they are exact at 0, 0.1, …, 0.7 "
    "and interpolated between (monotone cubic). The star is at λ = 0.3, η = 0.2. All systems "
    "share one colour scale for each metric; bright is good. A dashed line, where there is one, "
    "is where the system is only as good as the best constant prediction."
)
DIFFERENCE = (
    "The system's mean minus that of the reference model under the same training, at each (λ, η). "
    "Purple: better than the reference; orange: worse; the thick line is no difference. Whether a "
    "difference is more than chance is in the tables of paired differences."
)
UNEVEN = (
    "Every point is a set of missing rates (η_t, η_a, η_v) that sums to 1, so on average one "
    "modality is lost: at a corner always the same one, in the middle each as often. Without "
    "noise. The values are exact expectations over what is missing, means over seeds; between "
    "points the colour is interpolated. All systems share one colour scale; bright is good."
)
SENSITIVITY = (
    "Means over seeds; bars are 95 % intervals, points the single seeds. Every other setting is "
    f"the preset's. {captions.INTERVAL_OF}"
)
ROUTING = (
    "The mean routing weight of each expert (across) for each modality, under conditions of the "
    "input (down); a row sums to 1. Each seed alone: experts have no order that two trainings "
    "share. A missing modality reaches the router as zeros."
)
RELIABILITY = (
    "Scores under noise: r_m with everything available. Scores by availability: without noise, "
    "over the subsets that have modality m and those that lack it. Risk–coverage: the error of "
    "the samples that are kept as the least certain by the log-variance are refused, beside the "
    "best possible and a random order. Calibration: ten bins of equal weight for each seed; on "
    "the dotted line predicted and observed error agree. Gate on − off: against the same model "
    "trained without the gate, where there is one; purple is where the gate helps, and a sign "
    "stands where a 95 % band over all cells at once excludes zero for new test samples and new "
    "trainings (never with fewer than three seeds)."
)
CURVES = (
    "Left: noise intensity λ with nothing missing. Right: missing rate η without noise (the "
    "expectation over what is missing). Lines are means over seeds, bands 95 % intervals, "
    f"the dotted line is the best constant prediction. {captions.INTERVAL_OF}"
)
