defmodule DSPex.Native.Program.Reserved do
  @moduledoc """
  What a program must not hold, here as in Python: names of inputs that DSPy takes for its own arguments, and the mark that
  DSPy's adapters turn into images and the like, which nobody may type into a text.
  """

  alias DSPex.Error
  alias DSPex.Native.Adapter.JsonText
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

  @doc "Refuses demos that hold the mark."
  @spec demos([term]) :: :ok | {:error, Error.t()}
  def demos(demos) do
    case Enum.find_index(demos, &marked?/1) do
      nil -> :ok
      index -> {:error, Error.new(:invalid_request, "`demos.#{index}` holds the #{reserved()}")}
    end
  end

  defp reserved, do: "reserved text #{elem(JsonText.marks(), 0)}; take it out"

  defp marked?(text) when is_binary(text), do: :binary.match(text, elem(JsonText.marks(), 0)) != :nomatch
  defp marked?(list) when is_list(list), do: Enum.any?(list, &marked?/1)
  defp marked?(%DSPex.Ordered{pairs: pairs}), do: marked?(pairs)
  defp marked?(%_struct{} = struct), do: struct |> Map.from_struct() |> marked?()
  defp marked?(map) when is_map(map), do: map |> Map.to_list() |> marked?()
  defp marked?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> marked?()
  defp marked?(_other), do: false
end
