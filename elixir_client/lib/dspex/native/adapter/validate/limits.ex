defmodule DSPex.Native.Adapter.Validate.Limits do
  @moduledoc false
  # What `Field(…)` says about a value, checked after the coercion.

  alias DSPex.Native.Adapter.Validate.Outcome
  alias DSPex.Native.Python

  @doc false
  @spec check(Outcome.result(), [tuple]) :: Outcome.result()
  def check({:error, problems}, _metadata), do: {:error, problems}

  def check({:ok, value, _exact, _count} = result, metadata) do
    options = for {:field, options} <- metadata, option <- options, do: option

    case Enum.flat_map(options, &problem(&1, value)) do
      [] -> result
      problems -> {:error, Enum.map(problems, &{[], &1})}
    end
  end

  # None passes: it stands in the place of a value.
  defp problem(_option, nil), do: []

  defp problem({"gt", limit}, value) when is_number(value),
    do: unless_(value > limit, "must be greater than", limit, value)

  defp problem({"ge", limit}, value) when is_number(value),
    do: unless_(value >= limit, "must be at least", limit, value)

  defp problem({"lt", limit}, value) when is_number(value),
    do: unless_(value < limit, "must be less than", limit, value)

  defp problem({"le", limit}, value) when is_number(value), do: unless_(value <= limit, "must be at most", limit, value)

  defp problem({"multiple_of", step}, value) when is_number(value),
    do: unless_(multiple?(value, step), "must be a multiple of", step, value)

  defp problem({"min_length", limit}, value), do: size(value, &(&1 >= limit), "must have a length of at least", limit)
  defp problem({"max_length", limit}, value), do: size(value, &(&1 <= limit), "must have a length of at most", limit)

  defp problem({"pattern", pattern}, value) when is_binary(value) do
    case Regex.compile(pattern, "u") do
      {:ok, regex} -> unless_(Regex.match?(regex, value), "must match the pattern", pattern, value)
      {:error, _reason} -> ["the pattern #{inspect(pattern)} is no regular expression"]
    end
  end

  defp problem(_option, _value), do: []

  defp unless_(true, _words, _limit, _value), do: []
  defp unless_(false, words, limit, value), do: ["#{words} #{Python.str(limit)}, not #{Python.repr(value)}"]

  defp multiple?(value, step) when is_integer(value) and is_integer(step), do: rem(value, step) == 0

  defp multiple?(value, step) do
    quotient = value / step
    abs(quotient - round(quotient)) < 1.0e-9
  end

  defp size(value, fits?, words, limit) do
    case length_of(value) do
      nil -> []
      length -> if fits?.(length), do: [], else: ["#{words} #{limit}, not #{length}"]
    end
  end

  defp length_of(value) when is_binary(value), do: value |> String.codepoints() |> length()
  defp length_of(value) when is_list(value), do: length(value)
  defp length_of({pairs}) when is_list(pairs), do: length(pairs)
  defp length_of({:bytes, bytes}), do: byte_size(bytes)
  defp length_of({kind, items}) when kind in [:set, :tuple], do: length(items)
  defp length_of(_value), do: nil
end
