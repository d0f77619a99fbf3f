defmodule DSPex.Cached do
  @moduledoc """
  Calls through the instance's cache, for those that ask for it with `cache: true`.

  Two calls share an answer when program, inputs, LM, adapter, LM parameters, route override and tenant are equal; calls in
  sessions never do. Of equal calls at the same time one is run.
  """

  alias DSPex.Cache
  alias DSPex.Error
  alias DSPex.Program

  @doc "The cached outcome of a call, or that of `run`."
  @spec fetch(:ets.table(), Program.t(), map | keyword, keyword, (() -> outcome)) :: outcome
        when outcome: {:ok, DSPex.Prediction.t()} | {:error, Error.t()}
  def fetch(table, program, inputs, options, run) do
    case {options[:cache], :ets.lookup_element(table, :cache, 2)} do
      {off, _cache} when off in [nil, false] -> run.()
      {true, nil} -> {:error, Error.argument("cache: true needs an instance with the option cache: []")}
      {true, cache} -> through(cache, program, inputs, options, run)
      {other, _cache} -> {:error, Error.argument("cache is #{inspect(other)}; it must be true or false")}
    end
  end

  defp through(cache, program, inputs, options, run) do
    if options[:session] do
      {:error, Error.argument("a call in a session is not cached: its answer depends on what came before")}
    else
      timeout = Keyword.get(options, :timeout, 60_000)

      case Cache.fetch(cache, key(program, inputs, options), run, timeout) do
        {{:ok, prediction}, how} -> {:ok, %{prediction | meta: Map.put(prediction.meta, "cache", told(how))}}
        {{:error, error}, _how} -> {:error, error}
      end
    end
  end

  defp key(program, inputs, options) do
    inputs = for {name, value} <- inputs, do: {to_string(name), value}

    Cache.key(
      program: Program.key(program),
      inputs: Enum.sort(inputs),
      call: Enum.sort(Keyword.take(options, [:lm, :adapter, :config, :execution, :implementation])),
      tenant: options[:tenant]
    )
  end

  defp told(:miss), do: "miss"
  defp told(_hit_or_joined), do: "hit"
end
