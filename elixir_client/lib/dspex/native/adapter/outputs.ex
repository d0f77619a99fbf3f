defmodule DSPex.Native.Adapter.Outputs do
  @moduledoc false
  # From the texts or values that an adapter found to the outputs, in the order of the signature.

  alias DSPex.Native.Adapter.ParseError
  alias DSPex.Native.Adapter.ParseValue
  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Type
  alias DSPex.Signature
  alias DSPex.Signature.Field

  @doc "Refuses what is no text."
  @spec text(atom, Signature.t(), binary) :: :ok | {:error, ParseError.t()}
  def text(adapter, signature, completion) do
    if String.valid?(completion), do: :ok, else: {:error, ParseError.new(adapter, :invalid_text, signature, completion)}
  end

  @doc "Reads each output that `find` gives, then fills the ones that may be missing."
  @spec collect(Signature.t(), atom, String.t(), (String.t() -> {:ok, term} | :missing)) ::
          {:ok, [{String.t(), Python.value()}]} | {:error, ParseError.t()}
  def collect(%Signature{outputs: outputs} = signature, adapter, completion, find) do
    found = for %Field{name: name} = field <- outputs, {:ok, value} <- [find.(name)], do: {field, value}

    case read(found, []) do
      {:ok, values} -> complete(signature, adapter, completion, values)
      {:error, options} -> {:error, ParseError.new(adapter, kind(options), signature, completion, options)}
    end
  end

  defp kind(options), do: if(options[:problems] == :unsure, do: :needs_python, else: :field_value)

  defp read([], done), do: {:ok, Enum.reverse(done)}

  defp read([{%Field{name: name, type: type}, value} | rest], done) do
    case ParseValue.parse(value, type) do
      {:ok, value} -> read(rest, [{name, value} | done])
      {:error, problems} -> {:error, [field: name, problems: problems]}
      :unsure -> {:error, [field: name, problems: :unsure]}
    end
  end

  @doc "Fills defaults and `None`; what is still missing is an error."
  @spec complete(Signature.t(), atom, String.t(), [{String.t(), Python.value()}]) ::
          {:ok, [{String.t(), Python.value()}]} | {:error, ParseError.t()}
  def complete(%Signature{outputs: outputs} = signature, adapter, completion, values) do
    filled = Enum.flat_map(outputs, &fill(&1, List.keyfind(values, &1.name, 0)))

    if length(filled) == length(outputs),
      do: {:ok, filled},
      else:
        {:error,
         ParseError.new(adapter, :missing_fields, signature, completion, parsed: Enum.map(filled, &elem(&1, 0)))}
  end

  defp fill(_field, {_name, _value} = found), do: [found]
  defp fill(%Field{default: {:ok, value}, name: name}, nil), do: [{name, value}]
  defp fill(%Field{type: type, name: name}, nil), do: if(Type.allows_none?(type), do: [{name, nil}], else: [])

  @doc "Outputs as a map of plain Elixir values."
  @spec plain({:ok, [{String.t(), Python.value()}]} | {:error, ParseError.t()}) :: {:ok, map} | {:error, ParseError.t()}
  def plain({:ok, values}), do: {:ok, Map.new(values, fn {name, value} -> {name, Python.to_elixir(value)} end)}
  def plain({:error, error}), do: {:error, error}
end
