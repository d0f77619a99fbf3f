defmodule DSPex.Router.Latency do
  @moduledoc """
  Decayed averages of how long each side takes for a kind of program: the newest call counts a tenth.

  Two processes may overwrite each other's update; an average can bear that, and nobody waits.
  """

  @weight 0.1
  # Fewer calls say nothing, and a difference below this factor is noise.
  @enough 20
  @factor 2

  @doc "Takes a call's time (native units) into the average."
  @spec observe(:ets.table(), :native | :python, String.t(), integer) :: :ok
  def observe(table, side, kind, duration) do
    ms = System.convert_time_unit(duration, :native, :microsecond) / 1000
    key = {:latency, side, kind}

    row =
      case :ets.lookup(table, key) do
        [{_key, average, count}] -> {key, average + @weight * (ms - average), count + 1}
        [] -> {key, ms, 1}
      end

    :ets.insert(table, row)
    :ok
  rescue
    # The call outlived its instance, whose table is gone.
    ArgumentError -> :ok
  end

  @doc "The side that is clearly faster for a kind, with its average and the other's; `nil` when none is."
  @spec faster(:ets.table(), String.t()) :: {:native | :python, float, float} | nil
  def faster(table, kind) do
    with [{_native, native, counted}] when counted >= @enough <- :ets.lookup(table, {:latency, :native, kind}),
         [{_python, python, counted}] when counted >= @enough <- :ets.lookup(table, {:latency, :python, kind}) do
      cond do
        native * @factor < python -> {:native, native, python}
        python * @factor < native -> {:python, python, native}
        true -> nil
      end
    else
      _too_few -> nil
    end
  end

  @doc "All averages: `{side, kind}` to milliseconds."
  @spec all(:ets.table()) :: %{{:native | :python, String.t()} => float}
  def all(table) do
    for [side, kind, average] <- :ets.match(table, {{:latency, :"$1", :"$2"}, :"$3", :_}),
        into: %{},
        do: {{side, kind}, average}
  end
end
