defmodule DSPex.Pipeline.Fields do
  @moduledoc "Which fields a program needs and gives, as far as its signature says."

  alias DSPex.Program

  @doc """
  The names of a program's inputs and outputs; the outputs are `:unknown` where the kind decides them at run time.

      iex> DSPex.Pipeline.Fields.of(DSPex.ChainOfThought.new("question -> answer"))
      {["question"], ["reasoning", "answer"]}
  """
  @spec of(Program.t()) :: {[String.t()], [String.t()] | :unknown}
  def of(%Program{kind: "chain", steps: steps}) do
    Enum.reduce(steps, {[], []}, fn step, {needs, gives} ->
      {step_needs, step_gives} = of(step)
      known = if gives == :unknown, do: step_needs, else: gives
      {Enum.uniq(needs ++ (step_needs -- known)), join(gives, step_gives)}
    end)
  end

  def of(%Program{signature: nil}), do: {[], :unknown}

  def of(%Program{kind: kind, signature: signature}) do
    case names(signature) do
      {:ok, inputs, outputs} -> {inputs, gives(kind, outputs)}
      :unknown -> {[], :unknown}
    end
  end

  defp gives("predict", outputs), do: outputs
  defp gives("chain_of_thought", outputs), do: ["reasoning" | outputs]
  # The others add members of their own (trajectories, code), so that only their signature's outputs are sure.
  defp gives(_kind, outputs), do: outputs

  defp names(text) when is_binary(text) do
    case DSPex.Signature.parse(text) do
      {:ok, signature} -> {:ok, role(signature, :input), role(signature, :output)}
      {:error, error} -> raise ArgumentError, Exception.message(error)
    end
  end

  defp names(%{} = members) do
    fields = members["fields"]

    cond do
      is_list(fields) -> {:ok, named(fields, "input"), named(fields, "output")}
      text = members["text"] -> names(text)
      true -> :unknown
    end
  end

  defp named(fields, role), do: for(field <- fields, field["role"] == role, do: field["name"])
  defp role(signature, role), do: for(field <- DSPex.Signature.fields(signature), field.role == role, do: field.name)

  defp join(:unknown, _gives), do: :unknown
  defp join(_gives, :unknown), do: :unknown
  defp join(left, right), do: Enum.uniq(left ++ right)
end
