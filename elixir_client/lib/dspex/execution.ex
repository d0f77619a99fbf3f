defmodule DSPex.Execution do
  @moduledoc """
  The option `execution:` of calls: what the worker's executor does beside running the program once.

    * `:cache` – `false` neither takes the answer from the worker's result cache nor puts it there (`true`); the worker has
      one when its setting `result_cache_bytes` says so
    * `:retries` – how often the program is run again after a failure that may pass, 0 to 10 (0); an LM's own retries come
      before
    * `:timeout` – ms for the program; unlike the call's own `timeout:` it leaves time for the fallback
    * `:fallback` – what serves when the program has failed for good, in this order: `{:lm, name}`, the hash of another
      program that the worker has, `:stale` (a kept answer that is too old), `:partial` (what the modules that went well gave)
    * `:limits` – `max_lm_calls`, `max_tokens`, `max_memory_bytes`, `max_cpu_ms`; above them the call fails with
      `:limit_exceeded`
    * `:debug` – `true` gives every step with prompts, completions and times as `meta["debug_trace"]`
    * `:track` – `false` leaves the call out of the worker's tracker

  What was done is told in the prediction's `meta`: `"cache"`, `"attempts"`, `"fallback"`, `"debug_trace"`.
  """

  alias DSPex.Error

  @options ~w(cache retries timeout fallback limits debug track)a
  @limits ~w(max_lm_calls max_tokens max_memory_bytes max_cpu_ms)a

  @type option ::
          {:cache | :debug | :track, boolean}
          | {:retries | :timeout, non_neg_integer}
          | {:fallback, [:stale | :partial | {:lm, String.t()} | String.t()]}
          | {:limits, keyword(non_neg_integer)}

  @doc """
  Returns the options as the wire has them, or what is wrong with them.

      iex> {:ok, wire} = DSPex.Execution.to_wire(retries: 2, fallback: [{:lm, "small"}, :stale])
      iex> DSPex.Ordered.plain(wire)
      %{"retries" => 2, "fallback" => ["lm:small", "stale"]}
      iex> {:error, error} = DSPex.Execution.to_wire(tries: 2)
      iex> error.message
      "execution: tries is no option; known are cache, retries, timeout, fallback, limits, debug, track"
  """
  @spec to_wire([option]) :: {:ok, DSPex.Ordered.t()} | {:error, Error.t()}
  def to_wire(options) do
    if Keyword.keyword?(options), do: read(options), else: wrong("#{inspect(options)} is no keyword list")
  end

  defp read(options) do
    Enum.reduce_while(options, {:ok, []}, fn {name, value}, {:ok, read} ->
      case member(name, value) do
        {:ok, member} -> {:cont, {:ok, [member | read]}}
        {:error, _error} = error -> {:halt, error}
      end
    end)
    |> then(fn outcome -> with {:ok, read} <- outcome, do: {:ok, DSPex.Ordered.new(Enum.reverse(read))} end)
  end

  defp member(name, value) when name in [:cache, :debug, :track] and is_boolean(value),
    do: {:ok, {Atom.to_string(name), value}}

  defp member(:retries, value) when value in 0..10, do: {:ok, {"retries", value}}
  defp member(:timeout, value) when is_integer(value) and value > 0, do: {:ok, {"timeout_ms", value}}

  defp member(:fallback, choices) when is_list(choices) do
    case Enum.find(choices, &(choice(&1) == nil)) do
      nil -> {:ok, {"fallback", Enum.map(choices, &choice/1)}}
      other -> wrong("fallback takes {:lm, name}, :stale, :partial or the hash of a program, not #{inspect(other)}")
    end
  end

  defp member(:limits, limits) when is_list(limits) or is_map(limits) do
    case Enum.find(limits, &(not limit?(&1))) do
      nil -> {:ok, {"limits", Map.new(limits, fn {name, value} -> {Atom.to_string(name), value} end)}}
      other -> wrong("limits takes whole numbers for #{Enum.join(@limits, ", ")}, not #{inspect(other)}")
    end
  end

  defp member(name, value) when name in @options, do: wrong("#{name} is #{inspect(value)}; #{wanted(name)}")
  defp member(name, _value), do: wrong("#{name} is no option; known are #{Enum.join(@options, ", ")}")

  defp limit?({name, value}), do: name in @limits and is_integer(value) and value >= 0
  defp limit?(_other), do: false

  defp choice({:lm, name}) when is_binary(name) or (is_atom(name) and name != nil), do: "lm:#{name}"
  defp choice(choice) when choice in [:stale, :partial], do: Atom.to_string(choice)
  defp choice(handle) when is_binary(handle), do: handle
  defp choice(_other), do: nil

  defp wanted(:retries), do: "it must be a whole number from 0 to 10"
  defp wanted(:timeout), do: "it must be milliseconds, at least 1"
  defp wanted(:fallback), do: "it must be a list"
  defp wanted(:limits), do: "it must be a keyword list"
  defp wanted(_flag), do: "it must be true or false"

  defp wrong(text), do: {:error, Error.argument("execution: " <> text)}
end
