"""scipy.stats behind a facade: tests and distributions, by method. Imported by world.py only in the zygote that is started for
it.

Distribution objects are wrapped: their own attributes lead to code that is made from text (``shapes``) and to mutable generators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats as stats

from sandbox.facade import Facade, pick

_METHODS = """pdf pmf cdf sf ppf isf logpdf logpmf logcdf logsf rvs fit mean median var std stats interval entropy moment support
nnlf dof"""
_FUNCTIONS = """describe ttest_1samp ttest_ind ttest_rel ttest_ind_from_stats ks_1samp ks_2samp shapiro normaltest jarque_bera
anderson anderson_ksamp cramervonmises_2samp chisquare chi2_contingency power_divergence fisher_exact barnard_exact pearsonr
spearmanr kendalltau weightedtau pointbiserialr linregress theilslopes siegelslopes mannwhitneyu ranksums wilcoxon kruskal
friedmanchisquare f_oneway alexandergovern levene bartlett fligner mood ansari brunnermunzel skew kurtosis skewtest kurtosistest
zscore zmap gzscore iqr sem mode gmean hmean pmean gstd trim_mean tmean tvar tstd tmin tmax tsem variation moment rankdata
percentileofscore scoreatpercentile entropy differential_entropy wasserstein_distance energy_distance boxcox boxcox_normmax
yeojohnson cumfreq relfreq binned_statistic sigmaclip trimboth trim1 median_abs_deviation circmean circvar circstd ecdf binomtest
bootstrap permutation_test tukey_hsd dunnett false_discovery_control bayes_mvs combine_pvalues quantile_test find_repeats
tiecorrect expectile lmoment"""
_MULTIVARIATE = "multivariate_normal multivariate_t dirichlet multinomial wishart"


class Distribution:
    """A distribution of scipy.stats, by its methods; called with parameters it gives one with fixed parameters."""

    __slots__ = ("_methods", "_name", "_real")

    def __init__(self, real: Any, name: str) -> None:
        object.__setattr__(self, "_real", real)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_methods", {each: getattr(real, each) for each in _METHODS.split() if hasattr(real, each)})

    def __getattr__(self, name: str) -> Any:
        found = object.__getattribute__(self, "_methods").get(name)
        if found is None:
            raise AttributeError(f"scipy.stats.{object.__getattribute__(self, '_name')}.{name} is not available here")
        return found

    def __call__(self, *args: Any, **named: Any) -> Distribution:
        made = object.__getattribute__(self, "_real")(*args, **named)
        return Distribution(made, object.__getattribute__(self, "_name"))

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("distributions cannot be changed here")

    def __repr__(self) -> str:
        return f"<scipy.stats.{object.__getattribute__(self, '_name')}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("distributions cannot be copied")


def _density(dataset: Any, bw_method: Any = None, weights: Any = None) -> Facade:
    """scipy.stats.gaussian_kde, by its methods."""
    real = stats.gaussian_kde(np.asarray(dataset, dtype=float), bw_method=bw_method, weights=weights)
    methods = "evaluate pdf logpdf resample integrate_box_1d integrate_gaussian"
    return Facade("gaussian_kde", {name: getattr(real, name) for name in methods.split()})


def facades() -> Mapping[str, Facade]:
    """``scipy`` and ``scipy.stats``."""
    real = {
        name: value
        for name, value in vars(stats).items()
        if not name.startswith("_") and isinstance(value, stats.rv_continuous | stats.rv_discrete)
    }
    shown = {name: Distribution(value, name) for name, value in {**real, **pick(stats, _MULTIVARIATE)}.items()}

    def kstest(rvs: Any, cdf: Any, args: Any = (), **named: Any) -> Any:
        """The name of a distribution is looked up among the distributions, not among all that scipy's module holds."""
        if isinstance(cdf, str):
            if cdf not in real:
                raise ValueError(f"no distribution is called {cdf!r}")
            cdf = real[cdf].cdf
        return stats.kstest(rvs, cdf.cdf if isinstance(cdf, Distribution) else cdf, args, **named)

    members = {**pick(stats, _FUNCTIONS), **shown, "kstest": kstest, "gaussian_kde": _density}
    whole = Facade("scipy.stats", members)
    _warm()
    return {"scipy.stats": whole, "scipy": Facade("scipy", {"stats": whole})}


def _warm() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=50)
    stats.kstest(values, "norm")
    stats.norm(0, 1).cdf(0.5)
    stats.pearsonr(values, values + rng.normal(size=50))
    stats.ttest_ind(values, values + 1)
    stats.norm.fit(values)
