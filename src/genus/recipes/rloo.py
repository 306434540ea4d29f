"""rloo: `sft`, then a judge of its answers, and then the same model learns to please that judge within a budget.

Reinforcement learning from human feedback as in Ouyang et al. 2022 (arXiv 2203.02155), with REINFORCE in place of PPO
and the other answers to a question as its baseline (RLOO: Ahmadian et al. 2024, arXiv 2402.14740). Each nat that an
answer goes away from the fine-tuned model costs `source.kl`, and beyond `source.budget` nats on the mean it only turns
back. From pairs all phases can be trained; with `--from CHATS --given reward=JUDGE` the last one alone.
"""

from __future__ import annotations

from genus.learned.attempts import AttemptsConfig
from genus.learned.judge import JudgeConfig
from genus.objectives.policy import Policy
from genus.recipe import Training
from genus.recipes import reward, sft
from genus.validate.answers import Answers
from genus.validate.forgetting import Forgetting
from genus.validate.preferences import Preferences
from genus.validate.rewarded import Rewarded
from genus.validate.samples import Samples

SECOND = sft.RECIPE.phases[1]
JUDGE = JudgeConfig(phase="reward")

RECIPE = sft.RECIPE.but(
    name="rloo",
    about="a language model that learns from its own answers what a trained judge prefers",
    phases=(
        *sft.RECIPE.phases,
        reward.RECIPE.phases[-1].but(start="sft"),
        SECOND.but(
            name="rloo",
            start="sft",
            objective=Policy(over="answers"),
            source=AttemptsConfig(reward=JUDGE, phase="sft", group=4, advantage="leave-one-out", kl=0.05, budget=20.0),
            training=Training(optimiser="adamw", rate=3e-5, batch=64, weight_decay=0.0, warmup=0.05, cooldown=0.3),
            share=1.0,
        ),
    ),
    measures=(Rewarded(reward=JUDGE), Preferences(), Answers(), Forgetting(), Samples()),
)
