"""Distil a network, or a distilled set, into a small network, with or without its data.

Claim: a student that has seen pictures of formulae alone, and no label, reads digits.

Command:  kipax teacher --dataset=digits
          kipax kd --teacher=runs/digits-teacher --source=shaders
          kipax kd --teacher=fashion_mnist-convnet-10 --source=photo
Expected: see docs/distil.md; under three minutes on 2 CPU cores for digits.

--diagnose asks the teacher about a thousand images of the source, says how likely they are to
teach, and stops. Presets: small and bridge (ours), single_image (Asano & Saeed 2023,
arXiv:2112.00725), surrogate (Frank & Davis 2025); dapt, scratch, hinton, crd, srrl (Farhat & Chen
2023); compress, compress_1q, clusters, regression, regression_bn (Koohpayegani et al. 2020,
arXiv:2010.14713). Their constants stand in kipax.kd.presets and kipax.kd.embedding_presets.
"""

from typing import Any

from absl import flags

from kipax import console
from kipax.kd import Diagnosis, KDConfig, TrainingResult, diagnose_source, run_kd

flags.disclaim_key_flags()  # the calling program owns the flags


def _tell(
    reporter: console.ConsoleReporter, result: TrainingResult | Diagnosis, config: KDConfig
) -> dict[str, Any]:
    if isinstance(result, Diagnosis):
        reporter.say(result.describe())
        own = config.source.partition(":")[0] in ("data", "matched")
        if result.verdict != "likely" and not own:
            reporter.say(
                "images with the mean and deviation of the teacher's own may teach more: "
                f"--source=matched:{config.source}"
            )
        return result.to_dict()
    agreement = result.facts["agreement"]
    if agreement is None:
        reporter.say("no step was chosen by held-out images: the last one is kept")
    else:
        reporter.say(
            f"agreement with the teacher {agreement:.3f} on held-out images of the source (step "
            f"{result.best_step:,})"
        )
    if result.test_accuracy is not None:
        reporter.say(
            f"test accuracy {result.test_accuracy:.3f}; after the last step "
            f"{result.last_accuracy:.3f}"
        )
    console.tell_next(
        reporter,
        result,
        f"kipax.load_network({str(result.workdir)!r}).predict(my_images)",
        None if config.dataset == "none" else config.dataset,
    )
    return result.summary()


def _run(config: KDConfig, **rest: Any) -> TrainingResult | Diagnosis:
    if flags.FLAGS.diagnose:
        return diagnose_source(config, reporter=rest["reporter"])
    return run_kd(config, **rest)


def main() -> None:
    """Runs the command with the arguments in `sys.argv`."""
    flags.DEFINE_boolean("diagnose", False, "say how the teacher sees the source, and stop")
    where = "runs/<teacher>-<source>-<student>"
    console.run_experiment(KDConfig, _run, tell=_tell, where=where, about=__doc__)
