defmodule DSPex.Native.Program.Reserved do
  @moduledoc """
  What a program must not hold, here as in Python: names of inputs that DSPy takes for its own arguments, and the mark that
  DSPy's adapters turn into images and the like, which nobody may type into a text.
  """

  alias DSPex.Check
  alias DSPex.Error
  alias DSPex.Native.Adapter.JsonText
  alias DSPex.Native.Python
  alias DSPex.Signature

  @names ~w(config demos lm new_signature prediction self signature)

  @doc "Refuses inputs with names that DSPy keeps for itself, and signatures without outputs."
  @spec names(Signature.t()) :: :ok | {:error, Error.t()}
  def names(%Signature{inputs: inputs, outputs: outputs}) do
    case {for(field <- inputs, field.name in @names, do: field.name), outputs} do
      {[name | _rest], _outputs} ->
        text = "the input `#{name}` has a name that DSPy keeps for itself; call it `#{name}_text` or the like"
        {:error, Error.new(:signature_error, text, details: %{"names" => [name]})}

      {[], []} ->
        {:error, Error.new(:signature_error, "this signature has no output; name at least one after `->`")}

      {[], _outputs} ->
        :ok
    end
  end

  @doc "Refuses inputs that hold the mark."
  @spec inputs(map | keyword | DSPex.Ordered.t()) :: :ok | {:error, Error.t()}
  def inputs(inputs) do
    case for {name, value} <- inputs, marked?(value), do: to_string(name) do
      [] -> :ok
      names -> {:error, marked(names)}
    end
  end

  defp marked(names) do
    problems = for name <- names, do: %{"path" => [name], "message" => "holds the #{reserved()}"}
    text = Enum.map_join(problems, "; ", &"#{hd(&1["path"])}: #{&1["message"]}")
    Error.new(:invalid_input, "the inputs do not fit the signature: #{text}", details: %{"problems" => problems})
  end

  @doc "Refuses demos that are no maps of values, or hold the mark."
  @spec demos([term]) :: :ok | {:error, Error.t()}
  def demos(demos) do
    demos
    |> Enum.with_index()
    |> Enum.find_value(:ok, fn {demo, index} ->
      if problem = problem(demo), do: {:error, Error.new(:invalid_request, "`demos.#{index}` #{problem}")}
    end)
  end

  defp problem(demo) do
    case Check.all(values: demo) do
      :ok -> if Enum.any?(demo, fn {_name, value} -> marked?(value) end), do: "holds the #{reserved()}"
      {:error, _error} -> "is no map of fields and their values"
    end
  rescue
    error in ArgumentError -> "cannot be used: #{error.message}"
  end

  defp reserved, do: "reserved text #{elem(JsonText.marks(), 0)}; take it out"

  defp marked?(value), do: value |> Python.from_elixir() |> holds?(elem(JsonText.marks(), 0))

  defp holds?(text, mark) when is_binary(text), do: :binary.match(text, mark) != :nomatch
  defp holds?(list, mark) when is_list(list), do: Enum.any?(list, &holds?(&1, mark))
  defp holds?(tuple, mark) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> holds?(mark)
  defp holds?(_other, _mark), do: false
end
