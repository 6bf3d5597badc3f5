import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from transformers.integrations import NeptuneCallback

torch.manual_seed(0)
config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
model = BertForSequenceClassification(config)
rows = [{"input_ids": torch.randint(0, 20, (6,)), "labels": torch.tensor(number % 2)} for number in range(16)]
arguments = TrainingArguments(
    output_dir="out",
    num_train_epochs=2,
    per_device_train_batch_size=4,
    logging_steps=2,
    report_to=[],
    use_cpu=True,
    save_strategy="epoch",
    eval_strategy="epoch",
)
callback = NeptuneCallback(project="packages", name="transformers", log_parameters=True, log_checkpoints="last")
trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows[:4], callbacks=[callback])
trainer.train()
run = NeptuneCallback.get_run(trainer)
run["evaluated"] = trainer.evaluate()["eval_loss"]
run.stop()
