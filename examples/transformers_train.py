"""Train a small transformer to recognise handwritten digits, given as sequences of 64 grey values, and log all of it.

    python examples/transformers_train.py

transformers_plain.py is the same without naiad.
"""

import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import naiad_transformers  # makes report_to="naiad" known


def main() -> None:
    x, y = load_digits(return_X_y=True)
    rows = [{"input_ids": torch.tensor(image).long(), "labels": int(label)} for image, label in zip(x, y, strict=True)]
    config = BertConfig(
        vocab_size=17, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, num_labels=10
    )
    arguments = TrainingArguments(
        "checkpoints",
        num_train_epochs=3,
        per_device_train_batch_size=32,
        learning_rate=0.01,
        logging_steps=10,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="naiad",
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        seed=7,
    )
    trainer = Trainer(
        BertForSequenceClassification(config),
        arguments,
        train_dataset=rows[:1400],
        eval_dataset=rows[1400:],
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
    )
    trainer.train()
    naiad_transformers.NaiadCallback.get_run(trainer)["note"] = "one layer"


if __name__ == "__main__":
    main()
