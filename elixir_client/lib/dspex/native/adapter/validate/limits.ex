defmodule DSPex.Native.Adapter.Validate.Limits do
  @moduledoc false
  # What `Field(…)` says about a value, checked after the coercion.

  alias DSPex.Native.Adapter.Validate.Digits
  alias DSPex.Native.Adapter.Validate.Outcome
  alias DSPex.Native.Python
  alias DSPex.Native.Python.Timedelta

  @doc false
  @spec check(Outcome.result(), [tuple]) :: Outcome.result()
  def check({:error, problems}, _metadata), do: {:error, problems}

  def check({:ok, value, exact, _count} = result, metadata) do
    options = for {:field, options} <- metadata, option <- options, do: option

    case Enum.flat_map(options ++ whole(options), &(strict(&1, value, exact) ++ problem(&1, value))) do
      [] -> result
      problems -> {:error, Enum.map(problems, &{[], &1})}
    end
  end

  # Digits that are kept for the fraction cannot stand before the point.
  defp whole(options) do
    case {List.keyfind(options, "max_digits", 0), List.keyfind(options, "decimal_places", 0)} do
      {{_max, digits}, {_places, places}} -> [{"whole_digits", max(0, digits - places)}]
      _other -> []
    end
  end

  # A list or a dict has items of its own, which are not held to it.
  defp strict({"strict", true}, value, 0) when not is_list(value) and not (is_tuple(value) and tuple_size(value) == 1),
    do: ["is strict, and #{Python.repr(value)} was given in another form"]

  defp strict(_option, _value, _exact), do: []

  # None passes: it stands in the place of a value.
  defp problem(_option, nil), do: []
  defp problem({"gt", limit}, value), do: compared(value, &(&1 > limit), "must be greater than", limit)
  defp problem({"ge", limit}, value), do: compared(value, &(&1 >= limit), "must be at least", limit)
  defp problem({"lt", limit}, value), do: compared(value, &(&1 < limit), "must be less than", limit)
  defp problem({"le", limit}, value), do: compared(value, &(&1 <= limit), "must be at most", limit)
  defp problem({"multiple_of", _step}, value) when value in [:nan, :infinity, :neg_infinity], do: []
  defp problem({"multiple_of", step}, value), do: compared(value, &multiple?(&1, step), "must be a multiple of", step)

  defp problem({"allow_inf_nan", false}, value) when value in [:nan, :infinity, :neg_infinity],
    do: ["must be finite, not #{Python.repr(value)}"]

  defp problem({name, limit}, {:decimal, text}) when name in ["max_digits", "decimal_places", "whole_digits"],
    do: unless_(Digits.fit?(text, name, limit), "has a limit of #{name}", limit, {:decimal, text})

  defp problem({"min_length", limit}, value), do: size(value, &(&1 >= limit), "must have a length of at least", limit)
  defp problem({"max_length", limit}, value), do: size(value, &(&1 <= limit), "must have a length of at most", limit)

  defp problem({"pattern", pattern}, value) when is_binary(value) do
    # In pydantic's patterns `$` is the end alone, not also the place before a last new line.
    case Regex.compile(pattern, [:unicode, :ucp, :dollar_endonly]) do
      {:ok, regex} -> unless_(Regex.match?(regex, value), "must match the pattern", pattern, value)
      {:error, _reason} -> ["the pattern #{inspect(pattern)} is no regular expression"]
    end
  end

  defp problem(_option, _value), do: []

  defp unless_(true, _words, _limit, _value), do: []
  defp unless_(false, words, limit, value), do: ["#{words} #{Python.str(limit)}, not #{Python.repr(value)}"]

  # Decimals and durations, which count seconds, are compared as numbers.
  defp compared({:decimal, text} = value, fits?, words, limit),
    do: unless_(text |> Python.float() |> known(fits?), words, limit, value)

  defp compared({:timedelta, text} = value, fits?, words, limit),
    do: unless_(fits?.(Timedelta.seconds(text)), words, limit, value)

  defp compared(value, fits?, words, limit) when is_number(value), do: unless_(fits?.(value), words, limit, value)
  defp compared(:infinity, fits?, words, limit), do: unless_(fits?.(1.0e308), words, limit, :infinity)
  defp compared(:neg_infinity, fits?, words, limit), do: unless_(fits?.(-1.0e308), words, limit, :neg_infinity)
  defp compared(:nan, _fits?, words, limit), do: unless_(false, words, limit, :nan)
  defp compared(_value, _fits?, _words, _limit), do: []

  defp known({:ok, number}, fits?) when is_number(number), do: fits?.(number)
  defp known({:ok, :neg_infinity}, fits?), do: fits?.(-1.0e308)
  defp known(_beyond, fits?), do: fits?.(1.0e308)

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
